import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { type BaseModel, loadBase } from '../src/base.ts'
import { decodeCheckpoint, encodeCheckpoint } from '../src/checkpoint.ts'
import { createDecoder } from '../src/decoder.ts'
import { mergedArrays } from '../src/export/merged.ts'
import { decodeMixture, encodeMixture, resumedState } from '../src/export/mixture-file.ts'
import { peftAdapters } from '../src/export/peft.ts'
import { type TrainedModel, trainedModel, withOneExpert } from '../src/export/trained-model.ts'
import { type Layout, trainedLayout } from '../src/parameters.ts'
import { readSafetensors, writeSafetensors } from '../src/safetensors.ts'
import { EXPERTS, NO_EXPERTS, ROUTER } from '../src/steps.ts'
import { placeBase } from '../src/trainer.ts'
import { expectClose, expectSame } from './helpers/compare.ts'
import { freshEngine } from './helpers/engines.ts'
import { mixtureOf, savedArrays, TINY, tinyBase, tinyTrainer } from './helpers/models.ts'
import { refusal } from './helpers/refusals.ts'

/** Made by scripts/fixtures/exports.py: what PEFT, transformers and comigs_mixture.py made of the very same files. */
const MERGED_EXPERT = 2
const COUNTERS = { expertSteps: 30, routerSteps: 10, plateau: { best: Infinity, bad: 0, factor: 1 } }

interface Fixture {
  readonly base: BaseModel
  /** With four experts. */
  readonly trained: TrainedModel
  readonly tokens: readonly number[]
  readonly hashes: Readonly<Record<string, string>>
  logits(title: string): Float32Array
}

async function fixture(name: string): Promise<Fixture> {
  const folder = fileURLToPath(new URL(`fixtures/${name}/`, import.meta.url))
  const read = async (file: string) => readSafetensors(await readFile(folder + file), file)
  const json = async (file: string): Promise<unknown> => JSON.parse(await readFile(folder + file, 'utf8'))
  const { rank, alpha, sequences } = (await json('oracle.json')) as {
    rank: number
    alpha: number
    sequences: number[][][]
  }
  const base = await loadBase(folder)
  const oracle = await read('oracle.safetensors')
  const prefix = '4-router/parameter/'
  const arrays = oracle.names
    .filter((one) => one.startsWith(prefix))
    .map((one) => ({ ...oracle.array(one), name: one.slice(prefix.length) }))
    .map((array) => ({ ...array, name: `${array.name.includes('router') ? ROUTER : EXPERTS}/${array.name}` }))
  const mixture = { experts: 4, rank, alpha, routing: 'router' } as const
  const logits = await read('exports.safetensors')
  return {
    base,
    trained: trainedModel(base.config, mixture, { counters: COUNTERS, arrays }, 'oracle'),
    tokens: sequences[0]![0]!.slice(0, -1),
    hashes: (await json('exports.json')) as Record<string, string>,
    logits: (title) => logits.array(title).values,
  }
}

/** Logits at every position. */
async function logitsOf(base: BaseModel, trained: TrainedModel | undefined, tokens: readonly number[]) {
  const engine = await freshEngine('onnx')
  placeBase(engine, base)
  const mixture = trained?.mixture ?? NO_EXPERTS
  const { experts, router } = trainedLayout(base.config, mixture)
  const place = (key: string, { entries, size }: Layout) => {
    const values = new Float32Array(size)
    for (const { name, offset } of entries) values.set(trained!.arrays.get(name)!.values, offset)
    engine.place(key, { shape: [size], dtype: 'float32', values })
  }
  if (experts.size > 0) place(EXPERTS, experts)
  if (router.size > 0) place(ROUTER, router)
  const reading = createDecoder(engine, base.config, mixture).open()
  const logits: number[] = []
  for (const token of tokens) logits.push(...(await reading.append([token])).logits)
  return logits
}

const sha256 = (data: Uint8Array | string) => createHash('sha256').update(data).digest('hex')
const CLOSE = { relative: 2e-5 }
const NAMES = ['generalist', 'specialist-1', 'specialist-2', 'specialist-3']

describe.each(['gpt2-tiny', 'llama-tiny'])('exports of %s', async (name) => {
  const { base, trained, tokens, hashes, logits } = await fixture(name)

  it('are the files that Python was given', () => {
    const adapters = peftAdapters(trained, null).flatMap(({ name, config, arrays }) => [
      [`${name}/adapter_config.json`, sha256(JSON.stringify(config))],
      [`${name}/adapter_model.safetensors`, sha256(writeSafetensors(arrays, { format: 'pt' }))],
    ])
    const merged = [...mergedArrays(base, withOneExpert(trained, MERGED_EXPERT))]
    const files = [
      ...adapters,
      ['merged/model.safetensors', sha256(writeSafetensors(merged, { format: 'pt' }))],
      ['mixture.safetensors', sha256(encodeMixture({ trained, counters: COUNTERS, extra: {} }))],
    ]
    expect(Object.fromEntries(files)).toEqual(hashes)
  })

  it.each(NAMES.map((name, expert) => [name, expert] as const))(
    'mean in PEFT, with attention and the %s, our model with that expert chosen',
    async (name, expert) => {
      const ours = await logitsOf(base, withOneExpert(trained, expert), tokens)
      expectClose(ours, logits(`attention+${name}`), CLOSE)
    },
  )

  it('mean the same in PEFT as two parts at once', async () => {
    const ours = await logitsOf(base, withOneExpert(trained, 2), tokens)
    expectClose(ours, logits('attention, specialist-2'), CLOSE)
  })

  it('differ from expert to expert', () => {
    const [one, other] = [logits('attention+generalist'), logits('attention+specialist-1')]
    expect(Math.max(...one.map((logit, i) => Math.abs(logit - other[i]!)))).toBeGreaterThan(0.1)
  })

  it('are a model of their own when merged, here and in transformers', async () => {
    const arrays = mergedArrays(base, withOneExpert(trained, MERGED_EXPERT))
    const merged = await logitsOf({ ...base, arrays }, undefined, tokens)
    expectClose(merged, logits('merged'), CLOSE)
    expectClose(merged, logits('attention+specialist-2'), CLOSE)
  })

  it('mix in PyTorch as here', async () => {
    expectClose(await logitsOf(base, trained, tokens), logits('mixture'), CLOSE)
  })
})

describe('an adapter', () => {
  it.each([
    [null, { base_model_name_or_path: null }],
    [{ name: 'owner/name' }, { base_model_name_or_path: 'owner/name' }],
    [
      { name: 'owner/name', revision: 'v1.0' },
      { base_model_name_or_path: 'owner/name', revision: 'v1.0' },
    ],
  ])('names its base as the hub does: %o', async (base, expected) => {
    const { trained } = await fixture('gpt2-tiny')
    for (const { config } of peftAdapters(trained, base)) {
      const { base_model_name_or_path, revision } = config
      expect({ base_model_name_or_path, revision }).toEqual(expected)
    }
  })
})

describe('a chosen expert', () => {
  it('must exist', async () => {
    const { trained } = await fixture('gpt2-tiny')
    expect(await refusal(() => withOneExpert(trained, 4))).toMatchObject({
      code: 'OPTION_INVALID',
      option: '--expert',
      value: '4',
    })
  })
})

describe('a mixture file', () => {
  const BASE = tinyBase()

  /** A trainer that has learnt a little, and its model as a file. */
  async function exported(experts: number) {
    const trainer = await tinyTrainer(await freshEngine('onnx'), mixtureOf(experts))
    await trainer.trainExperts(2)
    await trainer.trainRouters(1)
    const state = await trainer.save()
    const trained = trainedModel(TINY, mixtureOf(experts), state, 'checkpoint')
    const bytes = encodeMixture({ trained, counters: state.counters, extra: { note: 'x' } })
    return { trainer, trained, bytes }
  }

  it.each([1, 2, 4])('gives back all that %i experts have learnt', async (experts) => {
    const { trainer, bytes } = await exported(experts)
    const read = decodeMixture(bytes, TINY, 'file')
    expect(read.extra).toEqual({ note: 'x' })
    expect(read.trained.mixture).toEqual(mixtureOf(experts))

    const { state } = decodeCheckpoint(encodeCheckpoint(resumedState(read), {}), 'checkpoint')
    const other = await tinyTrainer(await freshEngine('onnx'), mixtureOf(experts), { sharedSeed: 1, seed: 2 })
    other.restore(state, 'checkpoint')
    expect(other.counters).toEqual(trainer.counters)
    const [before, after] = [await savedArrays(trainer), await savedArrays(other)]
    const learnt = [...before.keys()].filter((name) => /^(experts|router)\//.test(name))
    expect(learnt.length).toBe(read.trained.arrays.size)
    for (const name of learnt) expectSame(after.get(name)!, before.get(name)!, name)
    const moments = [...after].filter(([name]) => !learnt.includes(name))
    for (const [name, values] of moments) expectSame(values, new Float32Array(values.length), name)
    // ... from which training goes on.
    expect((await other.trainExperts(2)).loss).toBeLessThan(10)
  })

  const file = async (experts = 2) => readSafetensors((await exported(experts)).bytes, 'file')
  const rewritten = async (
    metadata: Record<string, string>,
    keep: (name: string) => boolean = () => true,
  ) => {
    const { names, array, metadata: old } = await file()
    return writeSafetensors(
      names.filter(keep).map((name) => array(name)),
      { ...old, ...metadata },
    )
  }

  it.each<[string, () => Promise<Uint8Array>, string]>([
    ['another format', () => rewritten({ format: 'comigs-mixture-9' }), 'comigs-mixture-9'],
    ['no such JSON', () => rewritten({ mixture: '{' }), '"mixture"'],
    [
      'more experts than anyone has',
      () => rewritten({ mixture: JSON.stringify(mixtureOf(1e9)) }),
      '"mixture"',
    ],
    ['counters that are none', () => rewritten({ counters: '{"expertSteps": -1}' }), '"counters"'],
    ['fewer experts than it holds', () => rewritten({ mixture: JSON.stringify(mixtureOf(1)) }), 'no place'],
    ['more experts than it holds', () => rewritten({ mixture: JSON.stringify(mixtureOf(3)) }), 'experts.2'],
    ['another rank', () => rewritten({ mixture: JSON.stringify({ ...mixtureOf(2), rank: 5 }) }), 'shape'],
    ['no router', () => rewritten({}, (name) => !name.includes('router')), 'router'],
  ])('with %s is refused', async (_, bytes, why) => {
    const made = await bytes()
    const refused = await refusal(() => decodeMixture(made, TINY, 'file'))
    expect(refused).toMatchObject({ code: 'CHECKPOINT_INVALID', path: 'file' })
    expect(JSON.stringify(refused)).toContain(JSON.stringify(why).slice(1, -1))
  })

  it('of another base is refused', async () => {
    const { bytes } = await exported(2)
    const wider = { ...BASE.config, architecture: 'gpt2', width: 32 } as typeof TINY
    expect(await refusal(() => decodeMixture(bytes, wider, 'file'))).toMatchObject({
      code: 'CHECKPOINT_INVALID',
    })
  })

  it('that is cut off is refused', async () => {
    const { bytes } = await exported(2)
    expect(await refusal(() => decodeMixture(bytes.subarray(0, -1), TINY, 'file'))).toMatchObject({
      code: 'SAFETENSORS_INVALID',
    })
  })
})
