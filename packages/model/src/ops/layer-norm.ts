import * as tf from '@tensorflow/tfjs-core'
import { defineOperator } from './operator.ts'

const run = defineOperator({
  kernel: 'comigs.LayerNorm',
  compose: ({ x, gain, bias }, { epsilon }) => {
    const mean = tf.mean(x!, -1, true)
    const centred = tf.sub(x!, mean)
    const rstd = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), epsilon as number))
    return [tf.add(tf.mul(tf.mul(centred, rstd), gain!), bias!), mean, rstd]
  },
  gradient: {
    inputsToSave: ['x', 'gain'],
    outputsToSave: [false, true, true],
    gradFunc: (dys, saved) => {
      const dy = (dys as unknown as tf.Tensor[])[0]!
      const [x, gain, mean, rstd] = saved as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
      return {
        x: () => runGrad({ dy, x, gain, mean, rstd })[0]!,
        gain: () => tf.sum(tf.mul(dy, tf.mul(tf.sub(x, mean), rstd)), 0),
        bias: () => tf.sum(dy, 0),
      }
    },
  },
})

const runGrad = defineOperator({
  kernel: 'comigs.LayerNormGrad',
  compose: ({ dy, x, gain, mean, rstd }) => {
    const normal = tf.mul(tf.sub(x!, mean!), rstd!)
    const g = tf.mul(dy!, gain!)
    const along = tf.mul(normal, tf.mean(tf.mul(g, normal), -1, true))
    return tf.mul(rstd!, tf.sub(tf.sub(g, tf.mean(g, -1, true)), along))
  },
})

/**
 * Layer normalisation over the last axis (Ba et al. 2016, arXiv 1607.06450).
 * @param x - `[N, C]`
 * @param gain - `[C]`
 * @param bias - `[C]`
 * @returns `[N, C]`, owned by the caller
 */
export function layerNorm(x: tf.Tensor2D, gain: tf.Tensor, bias: tf.Tensor, epsilon: number): tf.Tensor2D {
  return run({ x, gain, bias }, { epsilon })[0] as tf.Tensor2D
}
