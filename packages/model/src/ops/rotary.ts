import * as tf from '@tensorflow/tfjs-core'
import { defineOperator } from './operator.ts'

export interface RotaryShape {
  /** Sequences in the batch, B. */
  readonly batch: number
  /** Heads side by side in a row, H. */
  readonly heads: number
}

// B batch, T tokens of a sequence, H heads, D width of a head.
const run = defineOperator({
  kernel: 'comigs.Rotary',
  compose: ({ x, cos, sin }, attrs) => {
    const { batch: B, heads: H } = attrs as unknown as RotaryShape
    const [N, width] = x!.shape as [number, number]
    const T = N / B
    const byHead = tf.reshape(x!, [B, T, H, width / H])
    const [first, second] = tf.split(byHead, 2, 3) as [tf.Tensor, tf.Tensor]
    const [c, s] = [cos!, sin!].map((table) => tf.reshape(table, [1, T, 1, width / H / 2])) as [
      tf.Tensor,
      tf.Tensor,
    ]
    const turned = [tf.sub(tf.mul(first, c), tf.mul(second, s)), tf.add(tf.mul(second, c), tf.mul(first, s))]
    return tf.reshape(tf.concat(turned, 3), [N, width])
  },
  gradient: {
    inputsToSave: ['cos', 'sin'],
    gradFunc: (dy, saved, attrs) => {
      const [cos, sin] = saved as [tf.Tensor2D, tf.Tensor2D]
      const { batch, heads } = attrs as unknown as RotaryShape
      // A rotation's transpose is the rotation back.
      return { x: () => rotary(dy as tf.Tensor2D, cos, tf.neg(sin), { batch, heads }) }
    },
  },
})

/**
 * Rotary position embedding (Su et al., arXiv 2104.09864) in Hugging Face's order: channel i of a head is paired with
 * channel i + D/2.
 * @param x - queries or keys, `[B T, H D]`, rows sequence by sequence
 * @param cos - of each position's angles, `[T, D / 2]`. Not differentiated
 * @param sin - `[T, D / 2]`. Not differentiated
 * @returns `[B T, H D]`, owned by the caller
 */
export function rotary(x: tf.Tensor2D, cos: tf.Tensor2D, sin: tf.Tensor2D, shape: RotaryShape): tf.Tensor2D {
  return run({ x, cos, sin }, { ...shape })[0] as tf.Tensor2D
}
