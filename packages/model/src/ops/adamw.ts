import * as tf from '@tensorflow/tfjs-core'
import { defineOperator } from './operator.ts'

export interface AdamWOptions {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
}

const run = defineOperator({
  kernel: 'comigs.AdamW',
  compose: ({ parameters, gradient, first, second, learningRate, correction, decay }, attrs) => {
    const { beta1, beta2, epsilon } = attrs as unknown as AdamWOptions
    const [c1, c2] = tf.unstack(correction!) as [tf.Scalar, tf.Scalar]
    const m = tf.add(tf.mul(first!, beta1), tf.mul(gradient!, 1 - beta1))
    const v = tf.add(tf.mul(second!, beta2), tf.mul(tf.square(gradient!), 1 - beta2))
    const update = tf.div(tf.mul(m, c1), tf.add(tf.sqrt(tf.mul(v, c2)), epsilon))
    const shrunk = tf.mul(parameters!, tf.sub(1, tf.mul(learningRate!, decay!)))
    return [tf.sub(shrunk, tf.mul(update, learningRate!)), m, v]
  },
})

export interface AdamWState {
  /** `[P]` */
  readonly parameters: tf.Tensor1D
  /** First moments, `[P]`. */
  readonly first: tf.Tensor1D
  /** Second moments, `[P]`. */
  readonly second: tf.Tensor1D
}

/**
 * One step of Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2) on a flat vector
 * of parameters.
 * @param gradient - `[P]`
 * @param learningRate - scalar
 * @param correction - `[2]`: 1/(1 - beta1^t) and 1/(1 - beta2^t), t counted from 1
 * @param decay - weight decay, scalar or `[P]`
 */
export function adamw(
  state: AdamWState,
  gradient: tf.Tensor1D,
  learningRate: tf.Tensor,
  correction: tf.Tensor1D,
  decay: tf.Tensor,
  options: AdamWOptions,
): AdamWState {
  const [parameters, first, second] = run(
    { ...state, gradient, learningRate, correction, decay },
    { ...options },
  )
  return { parameters: parameters as tf.Tensor1D, first: first as tf.Tensor1D, second: second as tf.Tensor1D }
}
