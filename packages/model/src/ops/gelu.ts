import * as tf from '@tensorflow/tfjs-core'
import { defineOperator } from './operator.ts'

/** gelu_tanh(z) = z · sigmoid(z (A + B z²)); `A = 2 sqrt(2/pi)`, since (1 + tanh u)/2 = sigmoid(2u). */
export const GELU_A = 2 * Math.sqrt(2 / Math.PI)
export const GELU_B = GELU_A * 0.044715

const run = defineOperator({
  kernel: 'comigs.Gelu',
  compose: ({ x }) => tf.mul(x!, gate(x!)),
  gradient: {
    inputsToSave: ['x'],
    outputsToSave: [true],
    gradFunc: (dy, saved) => ({
      x: () => runGrad({ dy: dy as tf.Tensor, x: saved[0]!, y: saved[1]! })[0]!,
    }),
  },
})

const runGrad = defineOperator({
  kernel: 'comigs.GeluGrad',
  compose: ({ dy, x, y }) => {
    const p = gate(x!)
    // d/dz [z p(t(z))] = p + z p (1 - p) t'(z),  t'(z) = A + 3 B z²,  and z p is what came out
    const slope = tf.add(tf.mul(tf.square(x!), 3 * GELU_B), GELU_A)
    return tf.mul(dy!, tf.add(p, tf.mul(tf.mul(y!, tf.sub(1, p)), slope)))
  },
})

function gate(x: tf.Tensor): tf.Tensor {
  return tf.sigmoid(tf.mul(x, tf.add(tf.mul(tf.square(x), GELU_B), GELU_A)))
}

/**
 * The tanh form of GELU that GPT-2 uses ("gelu_new"; Hendrycks and Gimpel, arXiv 1606.08415).
 * @returns the shape of `x`, owned by the caller
 */
export function gelu<T extends tf.Tensor>(x: T): T {
  return run({ x })[0] as T
}
