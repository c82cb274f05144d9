import * as tf from '@tensorflow/tfjs-core'
import { defineOperator } from './operator.ts'

const run = defineOperator({
  kernel: 'comigs.TopSelection',
  composed: true,
  compose: ({ logits }, { k }) => {
    const [N, n] = logits!.shape as [number, number]
    const here = tf.reshape(logits!, [N, n, 1])
    const other = tf.reshape(logits!, [N, 1, n])
    const earlier = Array.from({ length: n * n }, (_, i) => Number(i % n < Math.floor(i / n)))
    const greater = tf.cast(tf.greater(other, here), 'float32')
    const equal = tf.mul(tf.cast(tf.equal(other, here), 'float32'), tf.tensor3d(earlier, [1, n, n]))
    const before = tf.sum(tf.add(greater, equal), 2) // how many logits of the row come before this one, [N, n]
    return Array.from({ length: k as number }, (_, place) =>
      tf.cast(tf.less(tf.abs(tf.sub(before, place)), 0.5), 'float32'),
    )
  },
  gradient: {
    inputsToSave: ['logits'],
    gradFunc: (_, saved) => ({ logits: () => tf.zerosLike(saved[0]!) }),
  },
})

/**
 * Which logit of each row is the best, second best, ...; ties go to the lower index. Not differentiable: its gradient is
 * zero, as that of a top-k selection almost everywhere is.
 * @param logits - `[N, n]`
 * @returns k one-hot arrays `[N, n]`, owned by the caller
 */
export function topSelection(logits: tf.Tensor2D, k: number): tf.Tensor2D[] {
  return run({ logits }, { k }) as tf.Tensor2D[]
}
