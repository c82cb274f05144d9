import { describe, expect, it } from 'vitest'
import type { Engine, EngineName } from '../src/engine/engine.ts'
import type { Trainer } from '../src/trainer.ts'
import { expectClose, expectSame } from './helpers/compare.ts'
import { freshEngine } from './helpers/engines.ts'
import { mixtureOf, savedArrays, tinyTrainer } from './helpers/models.ts'

/** Ten steps, experts and routers in turn. */
const PHASES = 'EEERREERRE'

async function losses(trainer: Trainer): Promise<number[]> {
  const seen: number[] = []
  for (const phase of PHASES) {
    const result = phase === 'E' ? await trainer.trainExperts(1) : await trainer.trainRouters(1)
    if (result !== undefined) seen.push(result.loss)
  }
  return seen
}

async function trained(engine: Engine, experts: number) {
  const trainer = await tinyTrainer(engine, mixtureOf(experts))
  return { losses: await losses(trainer), arrays: await savedArrays(trainer) }
}

const onFresh = async (name: EngineName, experts: number) => trained(await freshEngine(name), experts)

describe.each([1, 2, 4])('ten training steps with %i experts', (experts) => {
  it('are on onnx what they are on cpu', async () => {
    const expected = await onFresh('cpu', experts)
    const actual = await onFresh('onnx', experts)
    expectClose(actual.losses, expected.losses, { relative: 1e-5 }, 'losses')
    expect([...actual.arrays.keys()]).toEqual([...expected.arrays.keys()])
    for (const [name, values] of expected.arrays)
      expectClose(actual.arrays.get(name)!, values, { relative: 2e-4 }, name)
  })

  it('are the same bit for bit each time on onnx', async () => {
    const one = await onFresh('onnx', experts)
    const other = await onFresh('onnx', experts)
    expect(one.losses).toEqual(other.losses)
    for (const [name, values] of one.arrays) expectSame(values, other.arrays.get(name)!, name)
  })
})
