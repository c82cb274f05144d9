import { describe, expect, it } from 'vitest'
import type { TokenSet } from '../src/data.ts'
import type { Engine, EngineName } from '../src/engine/engine.ts'
import { createLearner, type Learner, type LearnerPhase, type LearnerState } from '../src/learner.ts'
import { learningRate } from '../src/schedule.ts'
import { expectClose, expectDifferent, expectSame } from './helpers/compare.ts'
import { freshEngine } from './helpers/engines.ts'
import {
  DATA,
  mixtureOf,
  savedArrays,
  tinyBase,
  tinyOptions,
  tinyTrainer,
  tokenSet,
} from './helpers/models.ts'
import { namedArrays } from '../src/parameters.ts'
import { ADAMW } from '../src/steps.ts'
import { placeBase } from '../src/trainer.ts'

const { schedule, routerRate, seed, sharedSeed } = tinyOptions(mixtureOf(2))
const isShared = (name: string): boolean => /attn|experts\.0/.test(name)

async function learnerOf(experts: number, engine?: Engine): Promise<Learner> {
  const own = engine ?? (await freshEngine('onnx'))
  placeBase(own, tinyBase())
  return createLearner(own, tinyBase(), tinyOptions(mixtureOf(experts)))
}

const phase = (
  trains: LearnerPhase['trains'],
  steps: number,
  more: Partial<LearnerPhase> = {},
): LearnerPhase => ({
  trains,
  set: trains === 'routers' ? DATA.valid : DATA.train,
  steps,
  rate: (step) => (trains === 'routers' ? routerRate : learningRate(schedule, step)),
  seed,
  batches: trains === 'routers' ? 'valid' : 'train',
  ...more,
})

/** By the names that a Trainer saves under. */
function byName({ layout }: Learner, state: LearnerState): Map<string, Float32Array> {
  const named = Object.entries(state.arrays).flatMap(([key, flat]) =>
    namedArrays(key.startsWith('router') ? layout.router : layout.experts, flat).map(
      ({ name, values }) => [`${key}/${name}`, values] as const,
    ),
  )
  return new Map(named)
}

describe('a learner', () => {
  it('does bit for bit what a trainer does', async () => {
    const trainer = await tinyTrainer(await freshEngine('onnx'), mixtureOf(2))
    await trainer.trainExperts(3)
    await trainer.trainRouters(2)
    const expected = await trainer.trainExperts(4)

    const learner = await learnerOf(2)
    let { state } = await learner.train(learner.initial(seed, sharedSeed, isShared), phase('experts', 3))
    ;({ state } = await learner.train(state, phase('routers', 2)))
    const trained = await learner.train(state, phase('experts', 4))

    expect(trained.loss).toBe(expected.loss)
    expect(trained.state).toMatchObject({ expertSteps: 7, routerSteps: 2 })
    const actual = byName(learner, trained.state)
    for (const [name, values] of await savedArrays(trainer)) expectSame(actual.get(name)!, values, name)
    expect(await learner.evaluate(trained.state, DATA.valid)).toEqual(await trainer.evaluate(DATA.valid))
  })

  it('leaves the state that it was given as it was', async () => {
    const learner = await learnerOf(2)
    const start = learner.initial(seed, sharedSeed, isShared)
    const before = structuredClone(start)
    await learner.train(start, phase('both', 2))
    expect(start).toEqual(before)
  })

  it('is not disturbed by another of another shape on the same engine', async () => {
    const alone = await learnerOf(2)
    const start = alone.initial(seed, sharedSeed, isShared)
    const once = await alone.train(start, phase('experts', 2))
    const expected = await alone.train(once.state, phase('experts', 2))

    const engine = await freshEngine('onnx')
    const [two, four] = [await learnerOf(2, engine), await learnerOf(4, engine)]
    const first = await two.train(start, phase('experts', 2))
    await four.train(four.initial(1, 2, isShared), phase('both', 2))
    const second = await two.train(first.state, phase('experts', 2))
    expect(second).toEqual(expected)
  })

  it('keeps frozen parameters, moves the others', async () => {
    const learner = await learnerOf(2)
    const start = learner.initial(seed, sharedSeed, isShared)
    const frozen = (name: string) => name.endsWith('lora_A')
    const { state } = await learner.train(start, phase('experts', 3, { frozen }))
    const before = byName(learner, start)
    for (const [name, values] of byName(learner, state)) {
      if (!name.startsWith('experts/')) continue
      ;(frozen(name) ? expectSame : expectDifferent)(values, before.get(name)!, name)
    }
  })
})

describe('a step on experts and routers at once', () => {
  it.each(['cpu', 'onnx'] as const)(
    'moves each as a step on it alone would, on the same batch, on %s',
    async (name) => {
      const learner = await learnerOf(4, await freshEngine(name))
      const start = learner.initial(seed, sharedSeed, isShared)
      const on = (trains: LearnerPhase['trains']) =>
        learner.train(start, phase(trains, 1, { set: DATA.train, batches: 'train', rate: () => 1e-2 }))
      const [both, experts, routers] = [await on('both'), await on('experts'), await on('routers')]
      for (const key of ['experts', 'experts.first', 'experts.second'])
        expectClose(both.state.arrays[key]!, experts.state.arrays[key]!, { relative: 1e-5 }, key)
      for (const key of ['router', 'router.first', 'router.second'])
        expectClose(both.state.arrays[key]!, routers.state.arrays[key]!, { relative: 1e-5 }, key)
      expectDifferent(both.state.arrays['experts']!, start.arrays['experts']!)
      expectDifferent(both.state.arrays['router']!, start.arrays['router']!)
    },
  )
})

describe('steps that leak', () => {
  /** A large epsilon would hide it: AdamW's first step goes by signs, so momentum shows what a gradient was. */
  const gradient = (state: LearnerState, key: string) =>
    state.arrays[`${key}.first`]!.map((first) => first / (1 - ADAMW.beta1))
  const sum = (a: Float32Array, b: Float32Array) => a.map((value, k) => value + b[k]!)

  async function both(name: EngineName) {
    const engine = await freshEngine(name)
    placeBase(engine, tinyBase())
    const make = (leaky: boolean) =>
      createLearner(engine, tinyBase(), { ...tinyOptions(mixtureOf(4)), leaky })
    return { clean: make(false), leaky: make(true) }
  }
  const still = { rate: () => 0 }

  it.each(['cpu', 'onnx'] as const)(
    'carry what each phase leaves for the other into its first step, and no further, on %s',
    async (name) => {
      const { clean, leaky } = await both(name)
      const start = clean.initial(seed, sharedSeed, isShared)
      // With a rate of 0 nothing moves but moments: two expert steps on batches 0 and 1 of train text.
      const onTrain = async (trains: LearnerPhase['trains'], step: number) => {
        const at = { ...start, expertSteps: step, routerSteps: step }
        const { state } = await clean.train(
          at,
          phase(trains, 1, { ...still, set: DATA.train, batches: 'train' }),
        )
        return state
      }
      const left = sum(
        gradient(await onTrain('routers', 0), 'router'),
        gradient(await onTrain('routers', 1), 'router'),
      )
      const fresh = gradient((await clean.train(start, phase('routers', 1, still))).state, 'router')

      let { state } = await leaky.train(leaky.initial(seed, sharedSeed, isShared), phase('experts', 2, still))
      expectClose(state.arrays['router.leaked']!, left, { relative: 1e-4 })
      expectSame(state.arrays['experts.leaked']!, new Float32Array(state.arrays['experts']!.length))
      ;({ state } = await leaky.train(state, phase('routers', 1, still)))
      expectClose(gradient(state, 'router'), sum(fresh, left), { relative: 1e-4 })
      expectSame(state.arrays['router.leaked']!, new Float32Array(left.length))

      // What the router step made for the experts came from validation text, and moves them in their next step.
      const onValid = await clean.train(
        start,
        phase('experts', 1, { ...still, set: DATA.valid, batches: 'valid' }),
      )
      expectClose(state.arrays['experts.leaked']!, gradient(onValid.state, 'experts'), { relative: 1e-4 })
      expectDifferent(state.arrays['experts.leaked']!, new Float32Array(state.arrays['experts']!.length))
    },
  )

  it('move experts by validation text, which clean ones never do', async () => {
    const { clean, leaky } = await both('onnx')
    const experts = async (learner: Learner, valid: TokenSet) => {
      const start = learner.initial(seed, sharedSeed, isShared)
      let { state } = await learner.train(start, phase('experts', 2))
      ;({ state } = await learner.train(state, phase('routers', 2, { set: valid, rate: () => 0 })))
      return (await learner.train(state, phase('experts', 1))).state.arrays['experts']!
    }
    const other = tokenSet('other validation text', 200)
    expectSame(await experts(clean, DATA.valid), await experts(clean, other))
    expectDifferent(await experts(leaky, DATA.valid), await experts(leaky, other))
  })
})
