import * as tf from '@tensorflow/tfjs-core'
import { defineOperator } from './operator.ts'

const run = defineOperator({
  kernel: 'comigs.RmsNorm',
  compose: ({ x, gain }, { epsilon }) => {
    const rstd = tf.rsqrt(tf.add(tf.mean(tf.square(x!), -1, true), epsilon as number))
    return [tf.mul(tf.mul(x!, rstd), gain!), rstd]
  },
  gradient: {
    inputsToSave: ['x', 'gain'],
    outputsToSave: [false, true],
    gradFunc: (dys, saved) => {
      const dy = (dys as unknown as tf.Tensor[])[0]!
      const [x, gain, rstd] = saved as [tf.Tensor, tf.Tensor, tf.Tensor]
      return {
        x: () => runGrad({ dy, x, gain, rstd })[0]!,
        gain: () => tf.sum(tf.mul(dy, tf.mul(x, rstd)), 0),
      }
    },
  },
})

const runGrad = defineOperator({
  kernel: 'comigs.RmsNormGrad',
  compose: ({ dy, x, gain, rstd }) => {
    const normal = tf.mul(x!, rstd!)
    const g = tf.mul(dy!, gain!)
    return tf.mul(rstd!, tf.sub(g, tf.mul(normal, tf.mean(tf.mul(g, normal), -1, true))))
  },
})

/**
 * Root mean square normalisation over the last axis (Zhang and Sennrich, arXiv 1910.07467).
 * @param x - `[N, C]`
 * @param gain - `[C]`
 * @returns `[N, C]`, owned by the caller
 */
export function rmsNorm(x: tf.Tensor2D, gain: tf.Tensor, epsilon: number): tf.Tensor2D {
  return run({ x, gain }, { epsilon })[0] as tf.Tensor2D
}
