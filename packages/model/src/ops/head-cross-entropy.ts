import * as tf from '@tensorflow/tfjs-core'
import { defineOperator } from './operator.ts'

interface HeadAttrs {
  readonly gradX: boolean
  readonly gradW: boolean
}

// N tokens, C width, V vocabulary.
const run = defineOperator({
  kernel: 'comigs.HeadCrossEntropy',
  compose: ({ x, w, targets, weights }, attrs) => {
    const { gradX, gradW } = attrs as unknown as HeadAttrs
    const logits = tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D, false, true) // [N, V]
    const logProbs = tf.logSoftmax(logits)
    const oneHot = tf.cast(tf.oneHot(targets as tf.Tensor1D, w!.shape[0], 1, 0, 'int32'), 'float32')
    const loss = tf.neg(tf.sum(tf.mul(tf.sum(tf.mul(logProbs, oneHot), 1), weights!)))
    const nothing = tf.scalar(0)
    if (!gradX && !gradW) return [loss, nothing, nothing]
    const dLogits = tf.mul<tf.Tensor2D>(tf.sub(tf.exp(logProbs), oneHot), tf.expandDims(weights!, 1))
    return [
      loss,
      gradX ? tf.matMul(dLogits, w as tf.Tensor2D) : nothing,
      gradW ? tf.matMul(dLogits, x as tf.Tensor2D, true, false) : nothing,
    ]
  },
  gradient: {
    outputsToSave: [false, true, true],
    gradFunc: (dys, saved) => {
      const dLoss = (dys as unknown as tf.Tensor[])[0]!
      return { x: () => tf.mul(saved[0]!, dLoss), w: () => tf.mul(saved[1]!, dLoss) }
    },
  },
})

export interface HeadCrossEntropyOptions {
  /** Compute the gradient to `x`. Evaluation does without. */
  readonly gradX: boolean
  /** Compute the gradient to `w`. Only pre-training needs it. */
  readonly gradW: boolean
}

/**
 * Output projection and cross entropy in one: `sum_i weights_i · -log softmax(x_i Wᵀ)[targets_i]`. The gradient is made
 * with the loss, so that the `onnx` engine can work in chunks of rows and logits never exist whole.
 * @param x - final hidden states, `[N, C]`
 * @param w - output embedding, `[V, C]`
 * @param targets - next tokens, int32 `[N]`
 * @param weights - weight of each token in the sum, `[N]`; 1/N for a mean, 0 for padding. Not differentiated
 * @returns scalar, owned by the caller
 */
export function headCrossEntropy(
  x: tf.Tensor2D,
  w: tf.Tensor2D,
  targets: tf.Tensor1D,
  weights: tf.Tensor1D,
  options: HeadCrossEntropyOptions,
): tf.Scalar {
  return run({ x, w, targets, weights }, { ...options })[0] as tf.Scalar
}
