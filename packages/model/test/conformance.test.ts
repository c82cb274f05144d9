import { describe, expect, it } from 'vitest'
import { DEFAULT_MIXTURE, loraScale } from '../src/config.ts'
import { baseLayout, trainedLayout } from '../src/parameters.ts'
import { learningRate, NO_PLATEAU, observePlateau } from '../src/schedule.ts'
import { evaluationStep, NO_EXPERTS } from '../src/steps.ts'
import { expectClose, expectDifferent, expectSame } from './helpers/compare.ts'
import { compiled, freshEngine } from './helpers/engines.ts'
import { DATA, GPT2_SMALL, mixtureOf, savedArrays, shapeOf, tinyTrainer } from './helpers/models.ts'

describe('parameters of GPT-2 small at rank 8', () => {
  const counts = (experts: number, routing: 'router' | 'mean' = 'router') => {
    const layout = trainedLayout(GPT2_SMALL, { ...DEFAULT_MIXTURE, experts, routing })
    return {
      trained: layout.experts.size + layout.router.size,
      shared: layout.sharedSize,
      router: layout.router.size,
    }
  }

  it('are those of the paper with a generalist and a specialist', () => {
    expect(counts(2)).toEqual({ trained: 1_935_360, shared: 1_179_648, router: 18_432 })
  })

  it.each([
    [0, 0, 0],
    [1, 1_179_648, 0],
    [4, 1_179_648 + 3 * 737_280 + 36_864, 36_864],
    [8, 1_179_648 + 7 * 737_280 + 73_728, 73_728],
  ])('with %i experts are %i, routers among them %i', (experts, trained, router) => {
    expect(counts(experts)).toMatchObject({ trained, router })
  })

  it('are shared the same however many experts a peer has', () => {
    for (const experts of [1, 2, 4, 8]) expect(counts(experts).shared).toBe(1_179_648)
  })

  it('hold no router where nothing is routed', () => {
    expect(counts(4, 'mean').router).toBe(0)
  })

  it('are 124,439,808 in the base', () => {
    expect(baseLayout(GPT2_SMALL).size).toBe(124_439_808)
  })

  it('scale LoRA by alpha over the root of the rank', () => {
    expect(loraScale(DEFAULT_MIXTURE)).toBeCloseTo(5.657, 3)
    expect(loraScale({ rank: 16, alpha: 16 })).toBe(4)
  })

  it('put attention and expert 0 first, by layer, and every specialist behind', () => {
    const { experts, sharedSize } = trainedLayout(GPT2_SMALL, { ...DEFAULT_MIXTURE, experts: 3 })
    for (const { name, offset } of experts.entries)
      expect(offset < sharedSize, name).toBe(/\.attn\.|\.experts\.0\./.test(name))
    const ends = experts.entries.map(({ offset, size }) => offset + size)
    expect(experts.entries.map(({ offset }) => offset)).toEqual([0, ...ends.slice(0, -1)])
    expect(ends.at(-1)).toBe(experts.size)
  })
})

describe.each(['cpu', 'onnx'] as const)('training on %s', (name) => {
  it.each([1, 2, 3, 4])('starts at the loss of the base with %i experts', async (experts) => {
    const engine = await freshEngine(name)
    const trainer = await tinyTrainer(engine, mixtureOf(experts))
    const alone = await compiled(engine, evaluationStep(shapeOf(NO_EXPERTS)))
    const [tokens, targets] = [DATA.valid.tokens.slice(0, 32), DATA.valid.tokens.slice(1, 33)]
    const { loss } = await alone.run({ tokens, targets, weights: new Float32Array(32).fill(1 / 32) })
    const set = { tokens: DATA.valid.tokens.slice(0, 33), groups: [{ name: '', from: 0, to: 33 }] }
    expectClose([(await trainer.evaluate(set)).loss], loss!, { relative: 1e-6 })
  })

  it.each([2, 3])(
    'on train tokens leaves %i experts alone when it is the routers that learn',
    async (experts) => {
      const engine = await freshEngine(name)
      const trainer = await tinyTrainer(engine, mixtureOf(experts))
      await trainer.trainExperts(2)
      const before = await savedArrays(trainer)
      await trainer.trainRouters(2)
      for (const [array, values] of await savedArrays(trainer))
        (array.startsWith('router') ? expectDifferent : expectSame)(values, before.get(array)!, array)
    },
  )

  it.each([2, 3])(
    'leaves the routers of %i experts alone when it is the experts that learn',
    async (experts) => {
      const engine = await freshEngine(name)
      const trainer = await tinyTrainer(engine, mixtureOf(experts))
      await trainer.trainRouters(2)
      await trainer.trainExperts(1) // A has no gradient while B is zero
      const before = await savedArrays(trainer)
      await trainer.trainExperts(2)
      for (const [array, values] of await savedArrays(trainer))
        (array.startsWith('router') ? expectSame : expectDifferent)(values, before.get(array)!, array)
    },
  )
})

it('has nothing to do for the routers of a single expert', async () => {
  const trainer = await tinyTrainer(await freshEngine('onnx'), mixtureOf(1))
  expect(await trainer.trainRouters(3)).toBeUndefined()
  expect(trainer.counters.routerSteps).toBe(0)
})

describe('schedules', () => {
  const cosine = { kind: 'cosine', rate: 2e-3, steps: 200 } as const

  it('fall along half a cosine from 2e-3 to 2e-4 at the last step, and stay there', () => {
    expect(learningRate(cosine, 0)).toBe(2e-3)
    expect(learningRate(cosine, 199)).toBeCloseTo(2e-4, 12)
    expect(learningRate(cosine, 1000)).toBeCloseTo(2e-4, 12)
    expect(learningRate({ ...cosine, steps: 201 }, 100)).toBeCloseTo(1.1e-3, 12)
    const rates = Array.from({ length: 200 }, (_, step) => learningRate(cosine, step))
    expect(rates).toEqual(rates.toSorted((a, b) => b - a))
  })

  it('reach 2e-4 in the last expert step of a run, router phases or not', async () => {
    const schedule = { ...cosine, steps: 4 }
    const trainer = await tinyTrainer(await freshEngine('onnx'), mixtureOf(2), { schedule, routerRate: 3e-3 })
    expect((await trainer.trainExperts(1)).learningRate).toBe(2e-3)
    expect((await trainer.trainRouters(2))!.learningRate).toBe(3e-3)
    await trainer.trainExperts(2)
    expect((await trainer.trainRouters(1))!.learningRate).toBe(3e-3)
    expect((await trainer.trainExperts(1)).learningRate).toBeCloseTo(2e-4, 12)
  })

  it('warm up in a straight line, then stay', () => {
    const constant = { kind: 'constant', rate: 1e-3, warmupSteps: 4 } as const
    const rates = [0, 1, 3, 4, 1e6].map((step) => learningRate(constant, step))
    expectClose(rates, [2.5e-4, 5e-4, 1e-3, 1e-3, 1e-3], { relative: 1e-12 })
    expect(learningRate({ ...constant, warmupSteps: 0 }, 0)).toBe(1e-3)
  })

  it('halve after ten evaluations without a better loss, down to a 64th', () => {
    const after = (losses: number[]) => losses.reduce(observePlateau, NO_PLATEAU)
    const stuck = (times: number) => after([1, ...new Array<number>(times).fill(1)])
    expect(after([3, 2, 1])).toEqual({ best: 1, bad: 0, factor: 1 })
    expect(stuck(9)).toEqual({ best: 1, bad: 9, factor: 1 })
    expect(stuck(10)).toEqual({ best: 1, bad: 0, factor: 0.5 })
    expect(after([1, 2, 2, 2, 0.5])).toEqual({ best: 0.5, bad: 0, factor: 1 })
    expect(stuck(10 * 20).factor).toBe(1 / 64)
  })
})
