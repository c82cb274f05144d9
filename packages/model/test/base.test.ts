import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { hashBase, hubConfig, loadBase, readConfig } from '../src/base.ts'
import type { NamedArray } from '../src/parameters.ts'
import { writeSafetensors } from '../src/safetensors.ts'
import { expectSame } from './helpers/compare.ts'
import { folderOf } from './helpers/files.ts'
import { TINY, tinyBase } from './helpers/models.ts'
import { refusal } from './helpers/refusals.ts'
import { BASE_EN, baseTokenizer } from './helpers/tokenizers.ts'

/** GPT-2's own config.json, as the hub has it. */
const HUB = {
  activation_function: 'gelu_new',
  architectures: ['GPT2LMHeadModel'],
  attn_pdrop: 0.1,
  bos_token_id: 50256,
  embd_pdrop: 0.1,
  eos_token_id: 50256,
  initializer_range: 0.02,
  layer_norm_epsilon: 1e-5,
  model_type: 'gpt2',
  n_ctx: 1024,
  n_embd: 768,
  n_head: 12,
  n_layer: 12,
  n_positions: 1024,
  resid_pdrop: 0.1,
  summary_type: 'cls_index',
  task_specific_params: { 'text-generation': { do_sample: true, max_length: 50 } },
  vocab_size: 50257,
}

const configFolder = (config: unknown) => folderOf({ 'config.json': JSON.stringify(config) })

describe('config.json', () => {
  it('of GPT-2 is read, with the hidden width it leaves out', async () => {
    expect(await readConfig(await configFolder(HUB))).toEqual({
      architecture: 'gpt2',
      vocabSize: 50257,
      positions: 1024,
      width: 768,
      layers: 12,
      heads: 12,
      hidden: 3072,
      epsilon: 1e-5,
    })
  })

  it('may name a hidden width, or leave it open with null', async () => {
    expect((await readConfig(await configFolder({ ...HUB, n_inner: 100 }))).hidden).toBe(100)
    expect((await readConfig(await configFolder({ ...HUB, n_inner: null }))).hidden).toBe(3072)
  })

  it('that we write is one that we read', async () => {
    expect(await readConfig(await configFolder(hubConfig(TINY)))).toEqual(TINY)
  })

  it.each<[string, unknown]>([
    ['vocab_size', 0],
    ['vocab_size', '50257'],
    ['n_positions', -1],
    ['n_positions', undefined],
    ['n_embd', 1.5],
    ['n_layer', null],
    ['n_head', 0],
    ['n_head', 5],
    ['n_inner', 0],
    ['layer_norm_epsilon', 0],
    ['activation_function', 'relu'],
    ['scale_attn_weights', false],
    ['scale_attn_by_inverse_layer_idx', true],
    ['tie_word_embeddings', false],
  ])('is refused with its %s %s, which the error names', async (field, value) => {
    const folder = await configFolder({ ...HUB, [field]: value })
    expect(await refusal(() => readConfig(folder))).toMatchObject({ code: 'CONFIG_INVALID', field })
  })

  it.each<[string, unknown, string]>([
    ['Llama', { ...HUB, model_type: 'llama', architectures: ['LlamaForCausalLM'] }, 'LlamaForCausalLM'],
    ['BERT, without architectures', { ...HUB, model_type: 'bert', architectures: undefined }, 'bert'],
    ['nothing', {}, 'undefined'],
    ['a list', [], 'undefined'],
    ['a number', 7, 'undefined'],
  ])('is refused when it is that of %s', async (_, config, architecture) => {
    const folder = await configFolder(config)
    expect(await refusal(() => readConfig(folder))).toMatchObject({
      code: 'ARCHITECTURE_UNSUPPORTED',
      architecture,
    })
  })

  it('is refused when it is null', async () => {
    const folder = await configFolder(null)
    expect(await refusal(() => readConfig(folder))).toHaveProperty(
      'path',
      expect.stringContaining('config.json'),
    )
  })

  it('is refused when it is missing or no JSON', async () => {
    const [missing, broken] = [await folderOf(), await folderOf({ 'config.json': '{"vocab' })]
    expect(await refusal(() => readConfig(missing))).toMatchObject({ code: 'FILE_UNREADABLE' })
    expect(await refusal(() => readConfig(broken))).toMatchObject({ code: 'CONFIG_INVALID', field: '(file)' })
  })
})

describe('a base', () => {
  const { arrays } = tinyBase()
  const filesOf = (stored: readonly NamedArray[], dtype?: 'F32' | 'F16') => ({
    'config.json': JSON.stringify(hubConfig(TINY)),
    'tokenizer.json': '{}',
    'model.safetensors': writeSafetensors(stored, {}, dtype),
  })

  it.each([
    ['with the prefix of GPT2LMHeadModel', (name: string) => `transformer.${name}`],
    ['without', (name: string) => name],
  ])('is loaded from names %s', async (_, rename) => {
    const stored = arrays.map((array) => ({ ...array, name: rename(array.name) }))
    const other = { name: 'lm_head.weight', shape: [1], values: Float32Array.of(7) }
    const base = await loadBase(await folderOf(filesOf([other, ...stored.toReversed()])))
    expect(base.config).toEqual(TINY)
    expect(base.arrays.map(({ name, shape }) => ({ name, shape }))).toEqual(
      arrays.map(({ name, shape }) => ({ name, shape })),
    )
    for (const [i, { name, values }] of base.arrays.entries()) expectSame(values, arrays[i]!.values, name)
  })

  it('has the hashes of its files, loaded or not', async () => {
    const files = filesOf(arrays)
    const folder = await folderOf(files)
    const sha256 = (contents: string | Uint8Array) => createHash('sha256').update(contents).digest('hex')
    const expected = {
      weights: sha256(files['model.safetensors']),
      config: sha256(files['config.json']),
      tokenizer: sha256(files['tokenizer.json']),
    }
    expect((await loadBase(folder)).hashes).toEqual(expected)
    expect(await hashBase(folder)).toEqual(expected)
  })

  it('that is shipped loads, and has a row for every piece of its tokenizer', async () => {
    const base = await loadBase(BASE_EN)
    expect(base.config.vocabSize).toBe((await baseTokenizer()).size)
    const stored = JSON.parse(await readFile(`${BASE_EN}config.json`, 'utf8')) as unknown
    expect(stored).toEqual(hubConfig(base.config))
  })

  const last = arrays.at(-1)!
  it.each<[string, readonly NamedArray[], object]>([
    ['a tensor that is missing', arrays.slice(0, -1), { code: 'TENSOR_MISSING', tensor: last.name }],
    [
      'a tensor of another shape',
      [...arrays.slice(0, -1), { ...last, shape: [1, TINY.width] }],
      { code: 'SHAPE_MISMATCH', expected: `[${TINY.width}]`, actual: `[1,${TINY.width}]` },
    ],
    [
      'a tensor that is not finite',
      [
        ...arrays.slice(0, -1),
        { ...last, values: last.values.map((value, i) => (i === 3 ? Infinity : value)) },
      ],
      { code: 'TENSOR_NON_FINITE', tensor: last.name, index: 3 },
    ],
  ])('is refused with %s', async (_, stored, expected) => {
    const folder = await folderOf(filesOf(stored))
    expect(await refusal(() => loadBase(folder))).toMatchObject(expected)
  })

  it.each(['config.json', 'tokenizer.json', 'model.safetensors'])(
    'is refused without its %s',
    async (missing) => {
      const files = Object.entries(filesOf(arrays)).filter(([name]) => name !== missing)
      const folder = await folderOf(Object.fromEntries(files))
      const detail = await refusal(() => loadBase(folder))
      expect(detail).toMatchObject({ code: 'FILE_UNREADABLE' })
      expect(detail).toHaveProperty('path', expect.stringContaining(missing))
    },
  )

  it('is refused when its weights are no safetensors', async () => {
    const folder = await folderOf({ ...filesOf(arrays), 'model.safetensors': 'PK\u0003\u0004 a zip' })
    expect(await refusal(() => loadBase(folder))).toMatchObject({ code: 'SAFETENSORS_INVALID' })
  })
})
