import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import type { EngineName, Step } from '../../src/engine/engine.ts'
import { selectEngine } from '../../src/engine/select.ts'
import type { Trainer } from '../../src/trainer.ts'
import { floats, ints } from '../helpers/arrays.ts'
import { expectClose, expectSame } from '../helpers/compare.ts'
import { compiled, freshEngine, runOnce } from '../helpers/engines.ts'
import { DATA, mixtureOf, savedArrays, tinyTrainer } from '../helpers/models.ts'
import { refusal } from '../helpers/refusals.ts'

const x = floats([3], [1, 2, 3])

/** state := 2 state + given; hands the old state back. */
const doubling: Step = {
  name: 'doubling',
  reads: ['state'],
  writes: ['state'],
  inputs: { given: { shape: [3], dtype: 'float32' } },
  build: ({ state, given }) => ({ state: tf.add(tf.mul(state!, 2), given!), old: state! }),
}

/** What every engine does: keeps arrays, runs steps, and trains as the oracle does, to rounding. */
export function engineContract(name: EngineName): void {
  describe(`the ${name} engine`, () => {
    keepsArrays(name)
    trains(name)
  })
}

function keepsArrays(name: EngineName): void {
  it('keeps arrays by name', async () => {
    const engine = await freshEngine(name)
    engine.place('a', x)
    engine.place('b', floats([2], [7, 8]))
    expect([...(await engine.read('a'))]).toEqual([1, 2, 3])
    engine.place('a', floats([1], [9]))
    expect([...(await engine.read('a'))]).toEqual([9])
    expect(engine.memoryBytes()).toBe(4 * 3)
    engine.remove('a')
    expect(engine.memoryBytes()).toBe(4 * 2)
    expect(await refusal(() => engine.read('a'))).toEqual({ code: 'ARRAY_MISSING', name: 'a' })
  })

  it('hands out copies', async () => {
    const engine = await freshEngine(name)
    engine.place('a', floats([3], x.values))
    ;(await engine.read('a')).fill(0)
    expect([...(await engine.read('a'))]).toEqual([1, 2, 3])
  })

  it('replaces the arrays that a step writes, run after run, and returns the rest', async () => {
    const engine = await freshEngine(name)
    engine.place('state', floats([3], x.values))
    const program = await compiled(engine, doubling)
    const given = Float32Array.of(10, 0, -1)
    const olds: number[][] = []
    for (let i = 0; i < 3; i++) {
      const results = await program.run({ given })
      expect(Object.keys(results)).toEqual(['old'])
      olds.push([...results['old']!])
    }
    expect(olds).toEqual([
      [1, 2, 3],
      [12, 4, 5],
      [34, 8, 9],
    ])
    expect([...(await engine.read('state'))]).toEqual([78, 16, 17])
  })

  it('reads an array that was placed anew since the program was compiled', async () => {
    const engine = await freshEngine(name)
    engine.place('state', floats([3], x.values))
    const program = await compiled(engine, doubling)
    await program.run({ given: new Float32Array(3) })
    engine.place('state', floats([3], [100, 200, 300]))
    await program.run({ given: new Float32Array(3) })
    expect([...(await engine.read('state'))]).toEqual([200, 400, 600])
  })

  it('keeps what a program wrote when the program is gone', async () => {
    const engine = await freshEngine(name)
    const given = { given: Float32Array.of(1, 1, 1) }
    engine.place('state', floats([3], x.values))
    for (let times = 0; times < 3; times++) {
      const program = await engine.compile(doubling)
      await program.run(given)
      program.dispose()
    }
    expect([...(await engine.read('state'))]).toEqual([15, 23, 31])
    engine.remove('state')
    engine.place('state', floats([3], x.values))
    const program = await compiled(engine, doubling)
    expect([...(await program.run(given))['old']!]).toEqual([1, 2, 3])
  })

  it('lets two programs share an array', async () => {
    const engine = await freshEngine(name)
    engine.place('state', floats([3], x.values))
    const [one, other] = [await compiled(engine, doubling), await compiled(engine, doubling)]
    const given = new Float32Array(3)
    await one.run({ given })
    await other.run({ given })
    await one.run({ given })
    expect([...(await engine.read('state'))]).toEqual([8, 16, 24])
  })

  it('takes runs that are asked for at the same time in turn', async () => {
    const engine = await freshEngine(name)
    engine.place('state', floats([3], x.values))
    const [one, other] = [await compiled(engine, doubling), await compiled(engine, doubling)]
    const given = new Float32Array(3)
    const results = await Promise.all([one.run({ given }), other.run({ given }), one.run({ given })])
    expect(results.map(({ old }) => [...old!])).toEqual([
      [1, 2, 3],
      [2, 4, 6],
      [4, 8, 12],
    ])
    expect([...(await engine.read('state'))]).toEqual([8, 16, 24])
  })

  it('keeps what is placed while a step runs', async () => {
    const engine = await freshEngine(name)
    engine.place('state', floats([3], x.values))
    const program = await compiled(engine, doubling)
    const given = new Float32Array(3)
    await program.run({ given })
    const running = program.run({ given })
    await Promise.resolve() // it has begun
    engine.place('state', floats([3], [7, 8, 9]))
    await running
    expect([...(await engine.read('state'))]).toEqual([7, 8, 9])
  })

  it('refuses a step whose array is missing', async () => {
    const engine = await freshEngine(name)
    const run = async () => (await engine.compile(doubling)).run({ given: new Float32Array(3) })
    expect(await refusal(run)).toEqual({ code: 'ARRAY_MISSING', name: 'state' })
  })

  it.each([
    ['too few elements', { given: new Float32Array(2) }],
    ['nothing', {}],
  ])('refuses an input of %s', async (_, inputs) => {
    const engine = await freshEngine(name)
    engine.place('state', floats([3], x.values))
    const program = await compiled(engine, doubling)
    expect(await refusal(() => program.run(inputs))).toMatchObject({
      code: 'SHAPE_MISMATCH',
      what: 'input "given"',
      expected: '[3]',
    })
  })

  it('leaves no tensor behind', async () => {
    const engine = await freshEngine(name)
    await runOnce(engine, { x }, (t) => ({ y: tf.exp(t['x']!) }))
    const before = tf.memory().numTensors
    engine.place('state', floats([3], x.values))
    const program = await compiled(engine, doubling)
    await program.run({ given: new Float32Array(3) })
    engine.remove('state')
    expect(tf.memory().numTensors).toBe(before)
  })

  it('returns integers and booleans as numbers', async () => {
    const engine = await freshEngine(name)
    const inputs = { i: ints([3], [1, -2, 3]) }
    const results = await runOnce(engine, inputs, ({ i }) => ({
      twice: tf.add(i!, i!),
      above: tf.greater(i!, 0),
    }))
    expect([...results['twice']!]).toEqual([2, -4, 6])
    expect([...results['above']!]).toEqual([1, 0, 1])
  })
}

/** Ten steps, experts and routers in turn. */
const PHASES = 'EEERREERRE'
const EXPERTS = [1, 2, 4]

function trains(name: EngineName): void {
  it.each(EXPERTS)('has the losses and gradients of the oracle with %i experts', async (experts) => {
    const [expected, actual] = [await oracle(experts), await trained(name, experts)]
    expectClose(actual.evaluations, expected.evaluations, { relative: 1e-5 }, 'evaluations')
    expectClose(actual.losses.slice(0, 1), expected.losses.slice(0, 1), { relative: 1e-6 }, 'loss')
    expect([...actual.gradients.keys()]).toEqual([...expected.gradients.keys()])
    for (const [array, values] of expected.gradients)
      expectClose(actual.gradients.get(array)!, values, { relative: 1e-4, absolute: 1e-8 }, array)
  })

  it.each(EXPERTS)('takes the same ten training steps with %i experts', async (experts) => {
    const [expected, actual] = [await oracle(experts), await trained(name, experts)]
    expectClose(actual.losses, expected.losses, { relative: 1e-5 }, 'losses')
    expect([...actual.arrays.keys()]).toEqual([...expected.arrays.keys()])
    for (const [array, values] of expected.arrays)
      expectClose(actual.arrays.get(array)!, values, { relative: 2e-4 }, array)
  })

  it.each(EXPERTS)('takes them bit for bit each time with %i experts', async (experts) => {
    const [one, other] = [await trained(name, experts), await run(name, experts)]
    expect(other.losses).toEqual(one.losses)
    for (const [array, values] of one.arrays) expectSame(other.arrays.get(array)!, values, array)
  })
}

const runs = new Map<string, ReturnType<typeof run>>()

/** One run of each kind does for all tests that look at it. */
function trained(name: EngineName, experts: number): ReturnType<typeof run> {
  const key = `${name} ${experts}`
  const known = runs.get(key) ?? run(name, experts)
  runs.set(key, known)
  return known
}

const oracle = (experts: number) => trained('cpu', experts)

async function run(name: EngineName, experts: number) {
  const { engine } = await selectEngine({ engine: name })
  const trainer = await tinyTrainer(engine, mixtureOf(experts))
  const evaluations = [(await trainer.evaluate(DATA.valid, 2)).loss]
  const losses: number[] = []
  const gradients = new Map<string, Float32Array>()
  for (const phase of PHASES) {
    const loss = await step(trainer, phase)
    if (loss === undefined) continue
    losses.push(loss)
    // Moments start at zero: after the first step with a gradient, the first moment is that gradient times 1 - beta1.
    for (const [array, values] of await savedArrays(trainer))
      if (array.includes('.first/') && !gradients.has(array) && values.some((one) => one !== 0))
        gradients.set(array, values)
  }
  evaluations.push((await trainer.evaluate(DATA.valid, 2)).loss)
  const arrays = await savedArrays(trainer)
  trainer.dispose()
  engine.dispose()
  return { evaluations, losses, gradients, arrays }
}

async function step(trainer: Trainer, phase: string): Promise<number | undefined> {
  const result = phase === 'E' ? await trainer.trainExperts(1) : await trainer.trainRouters(1)
  return result?.loss
}
