import { describe, expect, it } from 'vitest'
import type { MixtureConfig, ModelConfig } from '../src/config.ts'
import { createDecoder, type Decoder, windowStart } from '../src/decoder.ts'
import type { Engine, EngineName, Program } from '../src/engine/engine.ts'
import { stream } from '../src/random.ts'
import { sample } from '../src/sample.ts'
import { NO_EXPERTS } from '../src/steps.ts'
import { placeBase } from '../src/trainer.ts'
import { randomInts } from './helpers/arrays.ts'
import { expectClose, expectDifferent } from './helpers/compare.ts'
import { compiled, freshEngine } from './helpers/engines.ts'
import { mixtureOf, shapeOf, TINY, TINY_LLAMA, tinyBase, tinyTrainer } from './helpers/models.ts'
import { nextTokenStep, recomputed } from './helpers/next-token.ts'
import { fc } from './helpers/properties.ts'

/** Long enough that caches grow once and prompts take several runs; not a power of two. */
const POSITIONS = 150
const MODEL: ModelConfig = { ...TINY, positions: POSITIONS }
const LLAMA: ModelConfig = { ...TINY_LLAMA, positions: POSITIONS }
/** Rounding differs: the products are cut differently. */
const TOLERANCE = { relative: 2e-5 }

async function pair(
  name: EngineName,
  mixture: MixtureConfig,
  model = MODEL,
): Promise<{ engine: Engine; decoder: Decoder; program: Program }> {
  const engine = await freshEngine(name)
  if (mixture.experts === 0) placeBase(engine, tinyBase(model))
  // B starts at zero: without a step the experts would all be the base.
  else await (await tinyTrainer(engine, mixture, {}, { base: tinyBase(model) })).trainExperts(2)
  const decoder = createDecoder(engine, model, mixture)
  const program = await compiled(engine, nextTokenStep({ ...shapeOf(mixture, model), context: POSITIONS }))
  return { engine, decoder, program }
}

const text = (name: string, length: number) => [...randomInts(name, length, MODEL.vocabSize)]

describe.each(['cpu', 'onnx', 'onnx-wasm'] as const)('decoding on %s', (name) => {
  it.each([
    ['the base alone', NO_EXPERTS, MODEL],
    ['one expert', mixtureOf(1), MODEL],
    ['two experts', mixtureOf(2), MODEL],
    ['four experts, two a token', mixtureOf(4), MODEL],
    ['three experts without a router', mixtureOf(3, 'mean'), MODEL],
    ['a Llama alone', NO_EXPERTS, LLAMA],
    ['a Llama with four experts', mixtureOf(4), LLAMA],
  ])('says what a whole forward pass says: %s', async (_, mixture, model) => {
    const { decoder, program } = await pair(name, mixture, model)
    const reading = decoder.open()
    const ids: number[] = []
    // One token, several, more than a run takes, one again and again across the cache's first size.
    for (const [i, length] of [1, 1, 5, 16, 17, 80, 7, 1, 1, 1].entries()) {
      const more = text(`more ${i}`, length)
      ids.push(...more)
      const next = await reading.append(more)
      const expected = await recomputed(program, ids, POSITIONS)
      expectClose(next.logits, expected['logits']!, TOLERANCE, `logits after ${ids.length}`)
      expectClose(next.routerScores.flat(), expected['scores'] ?? [], TOLERANCE, `scores after ${ids.length}`)
    }
  })

  it('draws the same tokens with the same seed as recomputing, past the end of the context', async () => {
    const { decoder, program } = await pair(name, mixtureOf(4))
    const prompt = text('prompt', 125)
    const drawn = async (say: (ids: number[], fresh: number[]) => Promise<Float32Array>) => {
      const random = stream(5, 'draw')
      const ids = [...prompt]
      let fresh = prompt
      for (let i = 0; i < 40; i++) {
        fresh = [sample(await say(ids, fresh), { temperature: 1, topP: 0.95 }, random)]
        ids.push(...fresh)
      }
      return ids.slice(prompt.length)
    }
    const reading = decoder.open()
    const cached = await drawn(async (_, fresh) => (await reading.append(fresh)).logits)
    const whole = await drawn(async (ids) => (await recomputed(program, ids, POSITIONS))['logits']!)
    expect(cached).toEqual(whole)
    expect(new Set(cached).size).toBeGreaterThan(10)
  })
})

describe('a decoder', () => {
  it('sees of a long prompt what its window holds', async () => {
    const { decoder, program } = await pair('onnx', mixtureOf(2))
    const ids = text('long', 400)
    const { logits } = await decoder.open().append(ids)
    expectClose(logits, (await recomputed(program, ids, POSITIONS))['logits']!, TOLERANCE)
  })

  it('reads several texts side by side without mixing them up', async () => {
    const { decoder } = await pair('onnx', mixtureOf(2))
    const parts = (name: string) => [3, 1, 20, 1].map((length, i) => text(`${name} ${i}`, length))
    const alone = async (name: string) => {
      const reading = decoder.open()
      const said = []
      for (const part of parts(name)) said.push((await reading.append(part)).logits)
      return said
    }
    const expected = [await alone('a'), await alone('b')]
    const together = await Promise.all([alone('a'), alone('b')])
    expect(together).toEqual(expected)
  })

  it('goes on with the experts as they are now', async () => {
    const engine = await freshEngine('onnx')
    const trainer = await tinyTrainer(engine, mixtureOf(2), {}, { base: tinyBase(MODEL) })
    const decoder = createDecoder(engine, MODEL, mixtureOf(2))
    const before = await decoder.open().append([1, 2, 3])
    await trainer.trainExperts(3)
    expectDifferent((await decoder.open().append([1, 2, 3])).logits, before.logits)
  })

  it('recovers from a run that failed', async () => {
    const { engine, decoder } = await pair('onnx', NO_EXPERTS)
    const expected = await decoder.open().append([5, 6, 7, 8])
    const reading = decoder.open()
    await reading.append([5, 6])
    const head = {
      values: await engine.read('base/ln_f.bias'),
      shape: [MODEL.width],
      dtype: 'float32' as const,
    }
    engine.remove('base/ln_f.bias')
    await expect(reading.append([7])).rejects.toMatchObject({ detail: { code: 'ARRAY_MISSING' } })
    engine.place('base/ln_f.bias', head)
    expectClose((await reading.append([8])).logits, expected.logits, TOLERANCE)
  })
})

describe('the window', () => {
  const lengths = fc.integer({ min: 1, max: 5000 })
  const sizes = fc.integer({ min: 1, max: 300 })

  it('holds all of a text that fits', () => {
    fc.assert(
      fc.property(lengths, sizes, (length, positions) => {
        if (length <= positions) expect(windowStart(length, positions)).toBe(0)
        expect(length - windowStart(length, positions)).toBeLessThanOrEqual(positions)
      }),
    )
  })

  it('holds at least half of what it can, and moves once every half', () => {
    fc.assert(
      fc.property(lengths, sizes, (length, positions) => {
        fc.pre(length > positions)
        const half = Math.ceil(positions / 2)
        const start = windowStart(length, positions)
        expect(length - start).toBeGreaterThan(positions - half)
        expect(start % half).toBe(0)
        expect(windowStart(length + 1, positions)).toBeGreaterThanOrEqual(start)
      }),
    )
  })
})
