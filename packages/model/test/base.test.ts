import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { hashBase, loadBase } from '../src/base.ts'
import { hubConfig, readConfig } from '../src/hub-config.ts'
import type { ModelConfig } from '../src/config.ts'
import type { NamedArray } from '../src/parameters.ts'
import { writeSafetensors } from '../src/safetensors.ts'
import { expectSame } from './helpers/compare.ts'
import { folderOf } from './helpers/files.ts'
import { TINY, TINY_LLAMA, tinyBase } from './helpers/models.ts'
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

/** Llama 3.2 1B's, as the hub has it. */
const LLAMA = {
  architectures: ['LlamaForCausalLM'],
  attention_bias: false,
  attention_dropout: 0,
  bos_token_id: 128000,
  eos_token_id: 128001,
  head_dim: 64,
  hidden_act: 'silu',
  hidden_size: 2048,
  initializer_range: 0.02,
  intermediate_size: 8192,
  max_position_embeddings: 131072,
  mlp_bias: false,
  model_type: 'llama',
  num_attention_heads: 32,
  num_hidden_layers: 16,
  num_key_value_heads: 8,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_scaling: {
    factor: 32,
    high_freq_factor: 4,
    low_freq_factor: 1,
    original_max_position_embeddings: 8192,
    rope_type: 'llama3',
  },
  rope_theta: 500000,
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
  vocab_size: 128256,
}

const LLAMA_CONFIG = {
  architecture: 'llama',
  vocabSize: 128256,
  positions: 131072,
  width: 2048,
  layers: 16,
  heads: 32,
  kvHeads: 8,
  headWidth: 64,
  hidden: 8192,
  epsilon: 1e-5,
  rope: {
    theta: 500000,
    scaling: { kind: 'llama3', factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4, positions: 8192 },
  },
  tied: true,
}

describe("Llama's config.json", () => {
  it('is read', async () => {
    expect(await readConfig(await configFolder(LLAMA))).toEqual(LLAMA_CONFIG)
  })

  it('is read as transformers 5 writes it', async () => {
    const { rope_theta, rope_scaling, ...rest } = LLAMA
    const config = { ...rest, rope_parameters: { ...rope_scaling, rope_theta } }
    expect(await readConfig(await configFolder(config))).toEqual(LLAMA_CONFIG)
  })

  it('may leave out what its first models did not have', async () => {
    const later = ['rope_theta', 'rope_scaling', 'head_dim', 'num_key_value_heads']
    const first = Object.entries(LLAMA).filter(([field]) => !later.includes(field))
    expect(await readConfig(await configFolder(Object.fromEntries(first)))).toMatchObject({
      kvHeads: 32,
      headWidth: 64,
      rope: { theta: 10_000, scaling: undefined },
    })
  })

  it('that we write is one that we read', async () => {
    const linear = { theta: 100, scaling: { kind: 'linear', factor: 3 } } as const
    for (const config of [TINY_LLAMA, { ...TINY_LLAMA, rope: linear }])
      expect(await readConfig(await configFolder(hubConfig(config)))).toEqual(config)
  })

  it.each<[string, unknown]>([
    ['attention_bias', true],
    ['mlp_bias', true],
    ['hidden_act', 'gelu'],
    ['quantization_config', { quant_method: 'gptq' }],
    ['sliding_window', 4096],
    ['num_key_value_heads', 5],
    ['num_attention_heads', 0],
    ['head_dim', 63],
    ['rope_scaling.rope_type', { rope_type: 'yarn', factor: 4 }],
    ['rope_scaling.type', { type: 'dynamic', factor: 4 }],
    ['rope_scaling.factor', { rope_type: 'linear' }],
    ['rope_scaling.high_freq_factor', { ...LLAMA.rope_scaling, high_freq_factor: 1 }],
    ['rope_parameters.partial_rotary_factor', { partial_rotary_factor: 0.5 }],
  ])('is refused for its %s, which the error names', async (field, value) => {
    const folder = await configFolder({ ...LLAMA, [field.split('.')[0]!]: value })
    expect(await refusal(() => readConfig(folder))).toMatchObject({ code: 'CONFIG_INVALID', field })
  })
})

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
    ['Mamba', { ...HUB, model_type: 'mamba', architectures: ['MambaForCausalLM'] }, 'MambaForCausalLM'],
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

function expectArrays(actual: Iterable<NamedArray>, expected: readonly NamedArray[]): void {
  const list = [...actual]
  expect(list.map(({ name, shape }) => ({ name, shape }))).toEqual(
    expected.map(({ name, shape }) => ({ name, shape })),
  )
  for (const [i, { name, values }] of list.entries()) expectSame(values, expected[i]!.values, name)
}

describe('a base', () => {
  const { arrays } = tinyBase()
  const filesOf = (
    stored: readonly NamedArray[],
    dtype: 'F32' | 'F16' = 'F32',
    config: ModelConfig = TINY,
  ) => ({
    'config.json': JSON.stringify(hubConfig(config)),
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
    expectArrays(base.arrays, arrays)
  })

  it.each([
    ['with a head of its own', TINY_LLAMA, (name: string) => name],
    ['tied', { ...TINY_LLAMA, tied: true }, (name: string) => name],
    ['without the prefix of LlamaForCausalLM', TINY_LLAMA, (name: string) => name.replace(/^model\./, '')],
  ] as const)('of the Llama family is loaded, %s', async (_, config, rename) => {
    const { arrays } = tinyBase(config)
    const stored = arrays.map((array) => ({ ...array, name: rename(array.name) }))
    const angles = {
      name: 'model.layers.0.self_attn.rotary_emb.inv_freq',
      shape: [1],
      values: Float32Array.of(1),
    }
    const base = await loadBase(await folderOf(filesOf([angles, ...stored], 'F32', config)))
    expect(base.config).toEqual(config)
    expectArrays(base.arrays, arrays)
  })

  it('may lie in several files, and is hashed by all of them', async () => {
    const shards = {
      'model-00001-of-00002.safetensors': arrays.slice(0, 9),
      'model-00002-of-00002.safetensors': arrays.slice(9),
    }
    const weight_map = Object.fromEntries(
      Object.entries(shards).flatMap(([file, part]) => part.map(({ name }) => [name, file])),
    )
    const { 'model.safetensors': whole, ...others } = filesOf(arrays)
    const files = {
      ...others,
      'model.safetensors.index.json': JSON.stringify({ metadata: {}, weight_map }),
      ...Object.fromEntries(Object.entries(shards).map(([name, part]) => [name, writeSafetensors(part)])),
    }
    const base = await loadBase(await folderOf(files))
    expectArrays(base.arrays, arrays)
    expect(base.hashes.weights).not.toBe((await hashBase(await folderOf(filesOf(arrays)))).weights)
    const changed = { ...files, 'model-00002-of-00002.safetensors': whole }
    expect((await hashBase(await folderOf(changed))).weights).not.toBe(base.hashes.weights)
    const without = Object.fromEntries(
      Object.entries(files).filter(([name]) => !name.startsWith('model-00001')),
    )
    const detail = await refusal(async () => loadBase(await folderOf(without)))
    expect(detail).toMatchObject({
      code: 'FILE_UNREADABLE',
      path: expect.stringContaining('model-00001') as string,
    })
    const elsewhere = { ...files, 'model.safetensors.index.json': '{"weight_map":{"a":"../x.safetensors"}}' }
    expect(await refusal(async () => loadBase(await folderOf(elsewhere)))).toMatchObject({
      code: 'CONFIG_INVALID',
      field: 'weight_map.a',
    })
  })

  it.each([
    ['F32', 32],
    ['F16', 16],
  ] as const)('knows how wide the numbers of its files are: %s', async (dtype, bits) => {
    expect((await loadBase(await folderOf(filesOf(arrays, dtype)))).bits).toBe(bits)
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
      'a tensor that we would leave out',
      [...arrays, { name: 'h.0.attn.c_attn.lora_A', shape: [1], values: Float32Array.of(1) }],
      { code: 'TENSOR_UNEXPECTED', tensor: 'h.0.attn.c_attn.lora_A' },
    ],
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
    expect(await refusal(async () => [...(await loadBase(folder)).arrays])).toMatchObject(expected)
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
