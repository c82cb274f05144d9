import type * as tf from '@tensorflow/tfjs-core'
import { describe, it } from 'vitest'
import type { HostTensor, Step } from '../src/engine/engine.ts'
import { adamw } from '../src/ops/adamw.ts'
import { ADAMW } from '../src/steps.ts'
import { floats, normal } from './helpers/arrays.ts'
import { expectClose } from './helpers/compare.ts'
import { compiled, freshEngine } from './helpers/engines.ts'

/** AdamW on parameters of their own each, as the paper of Loshchilov and Hutter writes it. */
class PlainAdamW {
  readonly #states = new Map<string, { first: number[]; second: number[]; steps: number }>()

  step(name: string, values: number[], gradient: readonly number[], rate: number, decay: number): void {
    const zeros = values.map(() => 0)
    const state = this.#states.get(name) ?? { first: zeros, second: [...zeros], steps: 0 }
    this.#states.set(name, state)
    state.steps++
    gradient.forEach((g, i) => {
      state.first[i] = ADAMW.beta1 * state.first[i]! + (1 - ADAMW.beta1) * g
      state.second[i] = ADAMW.beta2 * state.second[i]! + (1 - ADAMW.beta2) * g * g
      const first = state.first[i] / (1 - ADAMW.beta1 ** state.steps)
      const second = state.second[i] / (1 - ADAMW.beta2 ** state.steps)
      values[i] = values[i]! - rate * (first / (Math.sqrt(second) + ADAMW.epsilon) + decay * values[i]!)
    })
  }
}

/** Arrays that lie side by side in a flat one, and how long each is. */
const SIZES = { a: 5, b: 1, c: 7 }
const P = 13
const NAMES = Object.entries(SIZES).flatMap(([name, size]) => new Array<string>(size).fill(name))
const arraysIn = (flat: Float32Array): Record<string, number[]> =>
  Object.fromEntries(Object.keys(SIZES).map((name) => [name, [...flat].filter((_, i) => NAMES[i] === name)]))

const adamwStep = (decay: HostTensor): Step => ({
  name: 'adamw',
  reads: ['parameters', 'first', 'second'],
  writes: ['parameters', 'first', 'second'],
  inputs: {
    gradient: { shape: [P], dtype: 'float32' },
    rate: { shape: [], dtype: 'float32' },
    correction: { shape: [2], dtype: 'float32' },
    decay,
  },
  build: ({ parameters, first, second, gradient, rate, correction, decay }) => ({
    ...adamw(
      { parameters, first, second } as Record<'parameters' | 'first' | 'second', tf.Tensor1D>,
      gradient as tf.Tensor1D,
      rate!,
      correction as tf.Tensor1D,
      decay!,
      ADAMW,
    ),
  }),
})

describe.each(['cpu', 'onnx'] as const)('AdamW on %s', (engineName) => {
  const decayOfEach = (name: string) => (name === 'b' ? 0 : 0.2)

  it.each([
    ['one decay for all', floats([], [0.1]), () => 0.1],
    ['a decay for each', floats([P], NAMES.map(decayOfEach)), decayOfEach],
  ])('does to a flat array what it does array by array, with %s', async (_, decay, decayOf) => {
    const engine = await freshEngine(engineName)
    const start = normal('start', [P]).values
    for (const [key, values] of Object.entries({
      parameters: start.slice(),
      first: new Float32Array(P),
      second: new Float32Array(P),
    }))
      engine.place(key, floats([P], values))
    const program = await compiled(engine, adamwStep(decay))
    const plain = new PlainAdamW()
    const expected = arraysIn(start)
    for (let step = 1; step <= 6; step++) {
      // Sizes from huge to none at all.
      const gradient = normal(`${step}`, [P]).values.map((g, i) => (i === 3 ? 0 : g * 10 ** ((i % 7) - 4)))
      const rate = Math.fround(0.1 / step)
      await program.run({
        gradient,
        rate: Float32Array.of(rate),
        correction: Float32Array.of(1 / (1 - ADAMW.beta1 ** step), 1 / (1 - ADAMW.beta2 ** step)),
        decay: decay.values,
      })
      for (const [name, own] of Object.entries(arraysIn(gradient)))
        plain.step(name, expected[name]!, own, rate, decayOf(name))
      const flat = Object.values(expected).flat()
      expectClose(await engine.read('parameters'), flat, { relative: 2e-6 }, `step ${step}`)
    }
  })
})
