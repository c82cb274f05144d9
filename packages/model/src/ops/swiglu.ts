import * as tf from '@tensorflow/tfjs-core'
import { defineOperator } from './operator.ts'

const run = defineOperator({
  kernel: 'comigs.Swiglu',
  compose: ({ gate, up }) => tf.mul(tf.mul(gate!, tf.sigmoid(gate!)), up!),
  gradient: {
    inputsToSave: ['gate', 'up'],
    gradFunc: (dy, saved) => {
      const [gate, up] = saved as [tf.Tensor, tf.Tensor]
      return {
        gate: () => runGrad({ dy: dy as tf.Tensor, gate, up })[0]!,
        up: () => runGrad({ dy: dy as tf.Tensor, gate, up })[1]!,
      }
    },
  },
})

const runGrad = defineOperator({
  kernel: 'comigs.SwigluGrad',
  compose: ({ dy, gate, up }) => {
    const p = tf.sigmoid(gate!)
    const silu = tf.mul(gate!, p)
    // d/dg [g p(g)] = p + g p (1 - p)
    const slope = tf.add(p, tf.mul(silu, tf.sub(1, p)))
    return [tf.mul(tf.mul(dy!, up!), slope), tf.mul(dy!, silu)]
  },
})

/**
 * Gated activation `gate · sigmoid(gate) · up` (Shazeer, arXiv 2002.05202).
 * @returns the shape of `gate` and `up`, owned by the caller
 */
export function swiglu<T extends tf.Tensor>(gate: T, up: T): T {
  return run({ gate, up })[0] as T
}
