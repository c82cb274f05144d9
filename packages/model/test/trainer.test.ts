import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { decodeCheckpoint, encodeCheckpoint } from '../src/checkpoint.ts'
import { trainedLayout } from '../src/parameters.ts'
import { initialShared, type Trainer, type TrainerOptions } from '../src/trainer.ts'
import { expectClose, expectDifferent, expectSame } from './helpers/compare.ts'
import { freshEngine } from './helpers/engines.ts'
import {
  baseOf,
  DATA,
  mixtureOf,
  savedArrays,
  TINY,
  tinyBase,
  tinyTrainer,
  tokenSet,
} from './helpers/models.ts'
import { refusal } from './helpers/refusals.ts'

/** A trainer on an engine of its own. */
const trainerOf = async (
  experts: number,
  overrides: Partial<TrainerOptions> = {},
  engineName: 'cpu' | 'onnx' = 'onnx',
) => tinyTrainer(await freshEngine(engineName), mixtureOf(experts), overrides)

/** Nothing moves. */
const still = { schedule: { kind: 'cosine', rate: 0, steps: 1 }, weightDecay: 0 } as const

async function expectSameState(actual: Trainer, expected: Trainer): Promise<void> {
  expect(actual.counters).toEqual(expected.counters)
  const arrays = await savedArrays(actual)
  for (const [name, values] of await savedArrays(expected)) expectSame(arrays.get(name)!, values, name)
}

describe('resuming', () => {
  /** Ten steps on the experts, router phases and evaluations between them. */
  async function half(trainer: Trainer): Promise<void> {
    await trainer.trainExperts(5)
    await trainer.trainRouters(2)
    for (let i = 0; i < 6; i++) trainer.observeValidation(5)
    await trainer.trainExperts(5)
    await trainer.trainRouters(1)
  }

  const throughFile = async (trainer: Trainer) =>
    decodeCheckpoint(encodeCheckpoint(await trainer.save(), {}), 'checkpoint').state

  it.each<[string, number, Partial<TrainerOptions>]>([
    ['two experts on a cosine', 2, {}],
    ['four experts on a cosine', 4, {}],
    ['one expert', 1, {}],
    ['a rate that halves on plateaus', 2, { schedule: { kind: 'constant', rate: 1e-2, warmupSteps: 3 } }],
  ])('in a new engine continues bit for bit, with %s', async (_, experts, overrides) => {
    const whole = await trainerOf(experts, overrides)
    await half(whole)
    const state = await throughFile(whole)
    await half(whole)

    const resumed = await trainerOf(experts, { ...overrides })
    resumed.restore(state, 'checkpoint')
    await half(resumed)
    await expectSameState(resumed, whole)
  })

  it('carries the plateau over', async () => {
    const schedule = { kind: 'constant', rate: 1e-2, warmupSteps: 0 } as const
    const trainer = await trainerOf(2, { schedule })
    for (let i = 0; i < 11; i++) trainer.observeValidation(5)
    const resumed = await trainerOf(2, { schedule })
    resumed.restore(await throughFile(trainer), 'checkpoint')
    expect((await resumed.trainExperts(1)).learningRate).toBe(5e-3)
  })

  it('draws other batches after the resume than before', async () => {
    const trainer = await trainerOf(2, still)
    const before = await trainer.trainExperts(1)
    const resumed = await trainerOf(2, still)
    resumed.restore(await throughFile(trainer), 'checkpoint')
    expect((await resumed.trainExperts(1)).loss).not.toBe(before.loss)
  })

  it.each([
    ['an array that is missing', 'router.first/h.1.mlp.router.weight', undefined],
    ['an array of another length', 'router/h.1.mlp.router.weight', [TINY.width, 3]],
    ['an array of another shape', 'router/h.1.mlp.router.weight', [2, TINY.width]],
  ])('refuses %s, and changes nothing', async (_, name, shape) => {
    const { counters, arrays } = await (await trainerOf(2, { sharedSeed: 99 })).save()
    const changed = arrays.flatMap((array) => {
      if (array.name !== name) return [array]
      return shape === undefined ? [] : [{ name, shape, values: new Float32Array(shape[0]! * shape[1]!) }]
    })
    const trainer = await trainerOf(2)
    const before = await savedArrays(trainer)
    const detail = await refusal(() => {
      trainer.restore({ counters, arrays: changed }, 'saved.ckpt')
    })
    expect(detail).toMatchObject({ code: 'CHECKPOINT_INVALID', path: 'saved.ckpt' })
    expect(detail).toHaveProperty('reason', expect.stringContaining(name))
    for (const [key, values] of await savedArrays(trainer)) expectSame(values, before.get(key)!, key)
  })
})

describe('addShared', () => {
  it.each(['cpu', 'onnx'] as const)(
    'adds to what is shared and to nothing else, on %s',
    async (engineName) => {
      const trainer = await trainerOf(3, {}, engineName)
      await trainer.trainExperts(2)
      await trainer.trainRouters(1)
      const before = await savedArrays(trainer)
      const shared = await trainer.shared()
      const increment = Float32Array.from(shared, (_, i) => (i % 13) / 64)
      await trainer.addShared(increment)
      expectSame(
        await trainer.shared(),
        shared.map((value, i) => value + increment[i]!),
        'shared',
      )
      for (const [name, values] of await savedArrays(trainer))
        (/^experts\/.*(attn|experts\.0)/.test(name) ? expectDifferent : expectSame)(
          values,
          before.get(name)!,
          name,
        )
    },
  )

  it('survives the steps that follow', async () => {
    const trainer = await trainerOf(2, still)
    await trainer.trainExperts(3)
    await trainer.addShared((await trainer.shared()).fill(0.25))
    const added = await trainer.shared()
    await trainer.trainExperts(3)
    expectSame(await trainer.shared(), added)
  })

  it('changes what the model computes', async () => {
    const trainer = await trainerOf(2, still)
    const before = await trainer.evaluate(DATA.valid, 1)
    await trainer.addShared((await trainer.shared()).fill(0.25))
    expect((await trainer.evaluate(DATA.valid, 1)).loss).not.toBe(before.loss)
  })

  it('refuses an increment of another length', async () => {
    const trainer = await trainerOf(2)
    const { sharedSize } = trainer.layout
    expect(await refusal(() => trainer.addShared(new Float32Array(sharedSize + 1)))).toMatchObject({
      code: 'SHAPE_MISMATCH',
      expected: `[${sharedSize}]`,
      actual: `[${sharedSize + 1}]`,
    })
  })

  it('hands out copies of what is shared', async () => {
    const trainer = await trainerOf(2)
    const first = await trainer.shared()
    const kept = first.slice()
    first.fill(7)
    expectSame(await trainer.shared(), kept)
  })
})

describe.each(['cpu', 'onnx'] as const)('a loss that is not finite, on %s', (engineName) => {
  it('throws in the expert phase and leaves everything as it was before the phase', async () => {
    const trainer = await trainerOf(
      2,
      { schedule: { kind: 'constant', rate: 1e38, warmupSteps: 0 } },
      engineName,
    )
    const [before, counters] = [await savedArrays(trainer), trainer.counters]
    const detail = await refusal(() => trainer.trainExperts(4))
    expect(detail).toMatchObject({ code: 'LOSS_NON_FINITE', phase: 'expert' })
    expect(trainer.counters).toEqual(counters)
    for (const [name, values] of await savedArrays(trainer)) expectSame(values, before.get(name)!, name)
  })

  it('throws in the router phase and leaves everything as it was before the phase', async () => {
    const trainer = await trainerOf(2, { routerRate: 3e38 }, engineName)
    await trainer.trainExperts(2)
    const [before, counters] = [await savedArrays(trainer), trainer.counters]
    const detail = await refusal(() => trainer.trainRouters(4))
    expect(detail).toMatchObject({ code: 'LOSS_NON_FINITE', phase: 'router' })
    expect(trainer.counters).toEqual(counters)
    for (const [name, values] of await savedArrays(trainer)) expectSame(values, before.get(name)!, name)
  })

  it('names the step, counted from the start of the run', async () => {
    const wte = tinyBase().arrays.find(({ name }) => name === 'wte.weight')!
    const arrays = tinyBase().arrays.map((array) =>
      array.name === 'wte.weight' ? { ...wte, values: wte.values.map(() => NaN) } : array,
    )
    const engine = await freshEngine(engineName)
    const healthy = await tinyTrainer(engine, mixtureOf(2))
    await healthy.trainExperts(3)
    const trainer = await tinyTrainer(engine, mixtureOf(2), {}, { base: baseOf(TINY, arrays) })
    trainer.restore(await healthy.save(), 'saved')
    expect(await refusal(() => trainer.trainExperts(2))).toEqual({
      code: 'LOSS_NON_FINITE',
      phase: 'expert',
      step: 3,
    })
  })
})

describe('phases', () => {
  it('report mean loss, tokens, rate and router scores', async () => {
    const trainer = await trainerOf(3, still)
    const singles = [await trainer.trainExperts(1), await trainer.trainExperts(1)]
    const again = await trainerOf(3, still)
    const both = await again.trainExperts(2)
    expect(both).toMatchObject({ steps: 2, tokens: 2 * 2 * 16, learningRate: 0 })
    expect(both.loss).toBeCloseTo((singles[0]!.loss + singles[1]!.loss) / 2, 6)
    expect(both.routerScores.map((layer) => layer.length)).toEqual([3, 3])
    for (const layer of both.routerScores)
      expect(layer.reduce((sum, score) => sum + score, 0)).toBeCloseTo(1, 5)
    const mean = singles[0]!.routerScores.flatMap((layer, i) =>
      layer.map((score, j) => (score + singles[1]!.routerScores[i]![j]!) / 2),
    )
    expectClose(both.routerScores.flat(), mean, { absolute: 1e-6 })
  })

  it('have no router scores where nothing is routed', async () => {
    expect((await (await trainerOf(1)).trainExperts(1)).routerScores).toEqual([])
    const mean = await tinyTrainer(await freshEngine('onnx'), mixtureOf(2, 'mean'))
    expect((await mean.trainExperts(1)).routerScores).toEqual([])
    expect(await mean.trainRouters(1)).toBeUndefined()
  })

  it('learn: the loss of one batch that comes again and again falls', async () => {
    const one = tokenSet('one', 17)
    const trainer = await tinyTrainer(
      await freshEngine('onnx'),
      mixtureOf(2),
      { schedule: { kind: 'constant', rate: 2e-2, warmupSteps: 0 } },
      { data: { train: one, valid: one } },
    )
    const first = (await trainer.trainExperts(1)).loss
    await trainer.trainExperts(60)
    const trained = (await trainer.trainExperts(1)).loss
    expect(trained).toBeLessThan(first / 2)
    await trainer.trainRouters(30)
    expect((await trainer.trainRouters(1))!.loss).toBeLessThan(trained)
  })

  it('draw a batch of its own for every step', async () => {
    const trainer = await trainerOf(2, { ...still, routerRate: 0 })
    const losses: number[] = []
    for (let i = 0; i < 25; i++) {
      losses.push((await trainer.trainExperts(1)).loss)
      losses.push((await trainer.trainRouters(1))!.loss)
    }
    expect(new Set(losses).size).toBe(50)
  })

  it('draw batches for the experts from the train split, for the routers from the validation split', async () => {
    const engine = await freshEngine('onnx')
    const losses = async (train: string, valid: string) => {
      const data = { train: tokenSet(train, 100), valid: tokenSet(valid, 100) }
      const trainer = await tinyTrainer(engine, mixtureOf(2), {}, { data })
      const routers = (await trainer.trainRouters(1))!.loss
      const fresh = await tinyTrainer(engine, mixtureOf(2), {}, { data })
      return { routers, experts: (await fresh.trainExperts(1)).loss }
    }
    const [both, otherTrain, otherValid] = [
      await losses('a', 'b'),
      await losses('c', 'b'),
      await losses('a', 'c'),
    ]
    expect(otherTrain.routers).toBe(both.routers)
    expect(otherTrain.experts).not.toBe(both.experts)
    expect(otherValid.routers).not.toBe(both.routers)
    expect(otherValid.experts).toBe(both.experts)
  })

  // The first step of Adam is of the size of the rate, whatever the gradient; but only if it is counted as the first.
  it.each([
    ['routers', 'router/h.0.mlp.router.weight', ['experts', 'routers']],
    ['experts', 'experts/h.0.attn.c_proj.lora_B', ['routers', 'experts']],
  ] as const)('count the steps of the %s apart from the others', async (_, name, order) => {
    const overrides = { weightDecay: 0, schedule: { kind: 'constant', rate: 1e-2, warmupSteps: 0 } } as const
    const trainer = await trainerOf(2, overrides)
    const run = (group: 'experts' | 'routers', steps: number) =>
      group === 'experts' ? trainer.trainExperts(steps) : trainer.trainRouters(steps)
    await run(order[0], 5)
    const before = (await savedArrays(trainer)).get(name)!
    await run(order[1], 1)
    const after = (await savedArrays(trainer)).get(name)!
    const sizes = [...after].map((value, i) => Math.abs(value - before[i]!)).sort((a, b) => a - b)
    expect(sizes[Math.floor(sizes.length / 2)]).toBeCloseTo(1e-2, 4)
  })

  it('draw their batches by the seed of the peer', async () => {
    const losses = async (seed: number) => {
      const trainer = await trainerOf(1, { seed })
      return (await trainer.trainExperts(1)).loss
    }
    expect(await losses(5)).toBe(await losses(5))
    expect(await losses(5)).not.toBe(await losses(6))
  })

  it('ignore the load balance of up to two experts, and heed that of more', async () => {
    const loads = async (experts: number, balance: number) => {
      const trainer = await trainerOf(experts, { balance })
      await trainer.trainRouters(2)
      return savedArrays(trainer)
    }
    const name = 'router/h.0.mlp.router.weight'
    expectSame((await loads(2, 0)).get(name)!, (await loads(2, 10)).get(name)!)
    expectDifferent((await loads(3, 0)).get(name)!, (await loads(3, 10)).get(name)!)
  })
})

it('leaves no tensor behind over 200 steps on cpu', async () => {
  const base = tinyBase({ ...TINY, vocabSize: 11, positions: 4, width: 4, layers: 1, heads: 1, hidden: 8 })
  const data = { train: tokenSet('train', 50, 11), valid: tokenSet('valid', 50, 11) }
  const small = { batch: 1, context: 4 }
  const trainer = await tinyTrainer(await freshEngine('cpu'), mixtureOf(3), small, { base, data })
  const round = async (steps: number) => {
    await trainer.trainExperts(steps)
    await trainer.trainRouters(steps)
    await trainer.addShared((await trainer.shared()).fill(0))
    await trainer.evaluate(data.valid, 2)
  }
  await round(1)
  const { numTensors, numBytes } = tf.memory()
  await round(100)
  expect(tf.memory()).toMatchObject({ numTensors, numBytes })
})

it('gives its memory back when disposed of', async () => {
  for (const name of ['cpu', 'onnx'] as const) {
    const engine = await freshEngine(name)
    const trainer = await tinyTrainer(engine, mixtureOf(2))
    const base = tinyBase().arrays.reduce((bytes, { values }) => bytes + values.byteLength, 0)
    await trainer.trainExperts(1)
    expect(engine.memoryBytes()).toBeGreaterThan(base)
    trainer.dispose()
    expect(engine.memoryBytes()).toBe(base)
  }
})

describe('initialShared', () => {
  const start = (experts: number, seed: number) =>
    initialShared(trainedLayout(TINY, mixtureOf(experts)), seed)

  it('is equal for equal seeds and different for different ones', () => {
    expectSame(start(2, 5), start(2, 5))
    expectDifferent(start(2, 5), start(2, 6))
  })

  it('does not depend on the number of experts, nor on how they are routed', () => {
    for (const experts of [1, 3, 8]) expectSame(start(experts, 5), start(2, 5))
    expectSame(initialShared(trainedLayout(TINY, mixtureOf(2, 'mean')), 5), start(2, 5))
  })

  it('is where a trainer starts, whatever the seed of the peer, which draws the rest', async () => {
    const engine = await freshEngine('onnx')
    const starts: Map<string, Float32Array>[] = []
    for (const seed of [1, 2]) {
      const trainer = await tinyTrainer(engine, mixtureOf(2), { sharedSeed: 5, seed })
      expectSame(await trainer.shared(), start(2, 5))
      starts.push(await savedArrays(trainer))
    }
    for (const name of ['experts/h.0.mlp.experts.1.c_fc.lora_A', 'router/h.1.mlp.router.weight'])
      expectDifferent(starts[0]!.get(name)!, starts[1]!.get(name)!, name)
  })

  it('has A within the bounds of Kaiming, using most of them, and B zero', async () => {
    const trainer = await tinyTrainer(await freshEngine('onnx'), mixtureOf(3))
    for (const [name, values] of await savedArrays(trainer)) {
      const fanIn = name.includes('.mlp.experts') && name.includes('c_proj') ? TINY.hidden : TINY.width
      const bound = Math.fround(1 / Math.sqrt(fanIn))
      const largest = values.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
      const [low, high] = expectedRange(name, bound)
      expect(largest, name).toBeGreaterThanOrEqual(low)
      expect(largest, name).toBeLessThanOrEqual(high)
    }
  })

  it('takes any seed', () => {
    for (const seed of [0, -1, 2 ** 31, Number.MAX_SAFE_INTEGER]) expectDifferent(start(2, seed), start(2, 5))
  })

  /** Of the largest absolute value. Routers are normal with deviation 0.02. */
  const expectedRange = (name: string, bound: number): [number, number] => {
    if (name.startsWith('experts/') && name.endsWith('lora_A')) return [0.8 * bound, bound]
    if (name.startsWith('router/')) return [0.03, 0.09]
    return [0, 0]
  }
})
