import * as tf from '@tensorflow/tfjs-core'
import type { Engine, Step } from './engine.ts'

/** Some matrix products, a reduction and a state that is written: what a broken driver would get wrong. */
const PROBE: Step = {
  name: 'probe',
  reads: ['probe'],
  writes: ['probe'],
  inputs: { x: { shape: [2, 2], dtype: 'float32' } },
  build: ({ probe, x }) => {
    const product = tf.matMul(probe as tf.Tensor2D, x as tf.Tensor2D, false, true)
    return { probe: product, sums: tf.sum(tf.softmax(product), -1) }
  },
}

/** Computes something whose result is known, twice. @returns what is wrong; undefined: nothing */
export async function probe(engine: Engine): Promise<string | undefined> {
  try {
    engine.place('probe', { shape: [2, 2], dtype: 'float32', values: Float32Array.of(1, 2, 3, 4) })
    const program = await engine.compile(PROBE)
    const x = Float32Array.of(0, 1, 2, 0)
    const first = await program.run({ x })
    const second = await program.run({ x })
    const state = await engine.read('probe')
    program.dispose()
    engine.remove('probe')
    // [[1, 2], [3, 4]] -> [[2, 2], [4, 6]] -> [[2, 4], [6, 8]]
    const right = [2, 4, 6, 8].every((value, i) => Math.abs(state[i]! - value) < 1e-4)
    const rounded = Array.from(state, (value) => Number(value.toPrecision(4)))
    const sums = [...first['sums']!, ...second['sums']!].every((sum) => Math.abs(sum - 1) < 1e-4)
    return right && sums ? undefined : `a product that should be 2, 4, 6, 8 came out as ${rounded.join(', ')}`
  } catch (error) {
    return error instanceof Error ? error.message.split('\n')[0]! : String(error)
  }
}
