import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import type { ModelConfig } from '../src/config.ts'
import { peakBytes } from '../src/engine/peak.ts'
import { estimateMemory, fittingPlan, type MemoryPlan, PEER_BYTES } from '../src/memory-estimate.ts'
import { placeBase } from '../src/trainer.ts'
import { normal } from './helpers/arrays.ts'
import { freshEngine } from './helpers/engines.ts'
import { recorded } from './helpers/graphs.ts'
import { GPT2_SMALL, mixtureOf, TINY, TINY_LLAMA, tinyBase, tinyTrainer } from './helpers/models.ts'

const DEMO: ModelConfig = {
  ...GPT2_SMALL,
  vocabSize: 4096,
  positions: 256,
  width: 256,
  layers: 4,
  heads: 4,
  hidden: 1024,
}

const planOf = (experts = 2, overrides: Partial<MemoryPlan> = {}): MemoryPlan => ({
  mixture: { experts, rank: 8, alpha: 16, routing: 'router' },
  baseDtype: 'float32',
  batch: 8,
  context: 128,
  ...overrides,
})

describe('an estimate', () => {
  it('says that a sequence is longer than the base has positions for, before anything is computed', () => {
    const estimating = () => estimateMemory(tinyBase(), planOf(2, { context: TINY.positions + 1 }))
    const value = String(TINY.positions + 1)
    expect(estimating).toThrow(
      expect.objectContaining({
        detail: expect.objectContaining({ code: 'OPTION_INVALID', option: '--context', value }),
      }),
    )
  })
})

describe('the bytes that a graph keeps', () => {
  const x = normal('x', [10, 10]) // 400 bytes
  const peakOf = (build: (x: tf.Tensor) => tf.Tensor) =>
    peakBytes(recorded({ x }, (t) => ({ y: build(t['x']!) })))

  it('are those of an input and an output at a time, along a chain', () => {
    expect(peakOf((x) => tf.exp(x))).toBe(400)
    expect(peakOf((x) => tf.exp(tf.exp(tf.exp(x))))).toBe(800)
  })

  it('hold what is read again later', () => {
    expect(
      peakOf((x) => {
        const kept = tf.exp(x)
        return tf.add(kept, tf.exp(tf.exp(kept)))
      }),
    ).toBe(1200)
  })

  it('count a reshaped tensor once', () => {
    expect(peakOf((x) => tf.reshape(tf.exp(x), [100]))).toBe(400)
    expect(peakOf((x) => tf.exp(tf.reshape(tf.exp(x), [100])))).toBe(800)
  })

  it('hold what goes out to the end', () => {
    const two = peakBytes(
      recorded({ x }, ({ x }) => {
        const first = tf.exp(x!)
        return { first, second: tf.exp(tf.exp(first)) }
      }),
    )
    expect(two).toBe(1200)
  })
})

describe('an estimate of memory', () => {
  it.each(['float32', 'float16', 'int8'] as const)(
    'knows what the engine holds of a base in %s',
    async (baseDtype) => {
      for (const model of [TINY, TINY_LLAMA]) {
        const engine = await freshEngine('onnx')
        placeBase(engine, tinyBase(model), baseDtype)
        const { base } = estimateMemory({ config: model }, planOf(2, { baseDtype, context: 16 }))
        expect(base).toBe(engine.memoryBytes())
      }
    },
  )

  it.each([1, 2, 4])(
    'knows what the engine holds of %i experts, and of the copies of them',
    async (experts) => {
      const engine = await freshEngine('onnx')
      placeBase(engine, tinyBase())
      const before = engine.memoryBytes()
      const trainer = await tinyTrainer(engine, mixtureOf(experts))
      await trainer.trainExperts(1)
      await trainer.trainRouters(1)
      const mixture = mixtureOf(experts)
      const { trained } = estimateMemory({ config: TINY }, planOf(2, { mixture, context: 16 }))
      // Three arrays, each with its twin; the three copies beside them are JavaScript's.
      expect(engine.memoryBytes() - before).toBe((trained * 6) / 9)
    },
  )

  it('grows with the batch, the context and the experts, and shrinks with the bits of the base', () => {
    const total = (plan: MemoryPlan) => estimateMemory({ config: DEMO }, plan).total
    const usual = total(planOf())
    for (const larger of [planOf(2, { batch: 16 }), planOf(2, { context: 256 }), planOf(4)])
      expect(total(larger)).toBeGreaterThan(usual)
    expect(total(planOf(2, { baseDtype: 'int8' }))).toBeLessThan(usual)
    expect(total(planOf(1))).toBeLessThan(usual)
  })

  it('keeps a base of 16 bits in 16 bits when asked for nothing else, if it is large', () => {
    const base = (config: ModelConfig, bits: 16 | 32) =>
      estimateMemory({ config, bits }, planOf(1, { baseDtype: 'auto', batch: 1, context: 16 })).base
    expect(base(GPT2_SMALL, 16)).toBeLessThan(0.7 * base(GPT2_SMALL, 32)) // the head stays as it is
    expect(base(DEMO, 16)).toBe(base(DEMO, 32))
  })
})

/** 1,012 million parameters. */
const BILLION: ModelConfig = {
  architecture: 'llama',
  ...{ vocabSize: 32000, positions: 2048, width: 2048, layers: 20, hidden: 5632 },
  ...{ heads: 32, kvHeads: 4, headWidth: 64 },
  ...{ epsilon: 1e-5, rope: { theta: 10_000, scaling: undefined }, tied: false },
}

const SHAPES = { demo: DEMO, gpt2: GPT2_SMALL, '1b': BILLION }

describe('an estimate', () => {
  // Peak resident memory in MiB: npm run bench:memory -- --json --shape gpt2 --base-dtype int8 --experts 8 --batch 8
  it.each([
    ['demo', 'float32', 2, 1, 188],
    ['demo', 'float32', 2, 8, 356],
    ['demo', 'float32', 8, 8, 392],
    ['demo', 'float32', 2, 16, 414],
    ['demo', 'float32', 2, 32, 635],
    ['gpt2', 'float32', 2, 2, 948],
    ['gpt2', 'float32', 2, 8, 1379],
    ['gpt2', 'int8', 2, 2, 735],
    ['gpt2', 'int8', 2, 4, 845],
    ['gpt2', 'int8', 2, 8, 1210],
    ['gpt2', 'int8', 8, 8, 1563],
    ['1b', 'int8', 2, 1, 2239],
  ] as const)(
    'of %s in %s, %i experts, batch %i, is near the measured %i MiB',
    (shape, baseDtype, experts, batch, peak) => {
      const { total } = estimateMemory(
        { config: SHAPES[shape], bits: 32 },
        planOf(experts, { baseDtype, batch }),
      )
      const measured = peak * 2 ** 20 + PEER_BYTES
      expect(total / measured).toBeGreaterThan(0.9)
      expect(total / measured).toBeLessThan(1.1)
    },
  )
})

describe('a plan that fits', () => {
  const base = { config: DEMO, bits: 32 } as const
  const total = (plan: MemoryPlan) => estimateMemory(base, plan).total

  it('is the one that was asked for, if that fits', () => {
    expect(fittingPlan(base, planOf(), total(planOf()))).toEqual(planOf())
  })

  it('is smaller where most is taken', () => {
    const plan = planOf(2, { batch: 64 })
    const fitting = fittingPlan(base, plan, total(plan) - 1)
    expect(fitting).toEqual({ ...plan, batch: 32 })
    const large = { config: GPT2_SMALL, bits: 32 } as const
    const one = planOf(1, { batch: 1 })
    expect(fittingPlan(large, one, estimateMemory(large, one).total - 1)).toEqual({
      ...one,
      baseDtype: 'float16',
    })
  })

  it('fits, however little there is, down to the smallest', () => {
    const smallest = planOf(1, { batch: 1, baseDtype: 'int8' })
    for (const share of [0.9, 0.7, 0.5, 0]) {
      const available = total(smallest) + share * (total(planOf(8)) - total(smallest))
      const fitting = fittingPlan(base, planOf(8), available)
      expect(total(fitting!)).toBeLessThanOrEqual(available)
    }
    expect(fittingPlan(base, planOf(8), total(smallest) - 1)).toBeUndefined()
  })
})
