import * as tf from '@tensorflow/tfjs-core'
import { defineOperator } from './operator.ts'

export interface AttentionShape {
  /** Sequences in the batch, B. */
  readonly batch: number
  /** Attention heads, H. */
  readonly heads: number
}

/** Added to the scores of positions that a token must not see. */
export const MASKED = -1e9

// B batch, T tokens of a sequence, H heads, D width of a head, C = H D.
const run = defineOperator({
  kernel: 'comigs.Attention',
  compose: ({ qkv }, attrs) => {
    const { batch: B, heads: H } = attrs as unknown as AttentionShape
    const [q, k, v] = heads(qkv!, B, H)
    const [T, D] = q!.shape.slice(-2) as [number, number]
    const scores = tf.mul(tf.matMul(q!, k!, false, true), 1 / Math.sqrt(D)) // [B, H, T, T]
    const probs = tf.softmax(tf.add(scores, causalMask(T)))
    return [unheads(tf.matMul(probs, v!)), probs]
  },
  gradient: {
    inputsToSave: ['qkv'],
    outputsToSave: [true, true],
    gradFunc: (dys, saved, attrs) => {
      const dy = (dys as unknown as tf.Tensor[])[0]!
      const [qkv, out, probs] = saved as [tf.Tensor, tf.Tensor, tf.Tensor]
      return { qkv: () => runGrad({ dy, qkv, out, probs }, attrs)[0]! }
    },
  },
})

const runGrad = defineOperator({
  kernel: 'comigs.AttentionGrad',
  compose: ({ dy, qkv, out, probs }, attrs) => {
    const { batch: B, heads: H } = attrs as unknown as AttentionShape
    const [q, k, v] = heads(qkv!, B, H)
    const [T, D] = q!.shape.slice(-2) as [number, number]
    const split = (x: tf.Tensor) => tf.transpose(tf.reshape(x, [B, T, H, D]), [0, 2, 1, 3])
    const dOut = split(dy!) // [B, H, T, D]
    const dV = tf.matMul(probs!, dOut, true, false)
    const dProbs = tf.matMul(dOut, v!, false, true) // [B, H, T, T]
    // Row sums of dProbs ⊙ probs equal those of dOut ⊙ out, over D instead of T columns (FlashAttention, arXiv 2205.14135, B.4).
    const rows = tf.sum(tf.mul(dOut, split(out!)), -1, true)
    const dScores = tf.mul(tf.mul(probs!, tf.sub(dProbs, rows)), 1 / Math.sqrt(D))
    const dQ = tf.matMul(dScores, k!)
    const dK = tf.matMul(dScores, q!, true, false)
    return tf.concat([dQ, dK, dV].map(unheads), 1)
  },
})

function heads(qkv: tf.Tensor, B: number, H: number): tf.Tensor4D[] {
  const [N, width] = qkv.shape as [number, number]
  const T = N / B
  const D = width / 3 / H
  return tf.split(qkv, 3, 1).map((x) => tf.transpose(tf.reshape(x, [B, T, H, D]), [0, 2, 1, 3]))
}

function unheads(x: tf.Tensor): tf.Tensor2D {
  const [B, H, T, D] = x.shape as [number, number, number, number]
  return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [B * T, H * D])
}

/** `[T, T]`, 0 where column <= row, MASKED elsewhere. */
export function causalMask(T: number): tf.Tensor2D {
  return tf.tensor2d(causalMaskValues(T), [T, T])
}

export function causalMaskValues(T: number): Float32Array {
  return Float32Array.from({ length: T * T }, (_, i) => (i % T <= Math.floor(i / T) ? 0 : MASKED))
}

/**
 * Causal scaled dot-product self-attention.
 * @param qkv - queries, keys and values side by side, `[B T, 3 C]`, rows sequence by sequence
 * @returns `[B T, C]`, owned by the caller
 */
export function attention(qkv: tf.Tensor2D, shape: AttentionShape): tf.Tensor2D {
  return run({ qkv }, { ...shape })[0] as tf.Tensor2D
}

/** Keys and values of the tokens before, and which of their rows are filled. */
export interface Past {
  /** `[H, P, D]` */
  readonly keys: tf.Tensor3D
  /** `[H, P, D]` */
  readonly values: tf.Tensor3D
  /** `[P]`: 0 where a row holds a token, MASKED where it holds none. */
  readonly mask: tf.Tensor1D
}

/**
 * Attention of new tokens to all that came before them and, causally, to each other. Past and present are two products
 * under one softmax, so that the past is read where it lies and never copied.
 * @param qkv - queries, keys and values of S new tokens of one text, `[S, 3 C]`
 * @returns `out` `[S, C]`, and `keys` and `values` of the new tokens, `[H, S, D]`; owned by the caller
 */
export function attentionToPast(
  qkv: tf.Tensor2D,
  past: Past,
): { readonly out: tf.Tensor2D; readonly keys: tf.Tensor3D; readonly values: tf.Tensor3D } {
  const [H, P, D] = past.keys.shape
  const S = qkv.shape[0]
  const [q, keys, values] = heads(qkv, 1, H).map((x) => tf.reshape(x, [H, S, D])) as [
    tf.Tensor3D,
    tf.Tensor3D,
    tf.Tensor3D,
  ]
  const scaled = tf.mul(q, 1 / Math.sqrt(D))
  const toPast = tf.add(tf.matMul(scaled, past.keys, false, true), past.mask) // [H, S, P]
  const toPresent = tf.add(tf.matMul(scaled, keys, false, true), causalMask(S)) // [H, S, S]
  const probs = tf.softmax(tf.concat([toPast, toPresent], 2))
  const [ofPast, ofPresent] = tf.split<tf.Tensor3D>(probs, [P, S], 2)
  const mixed = tf.add(tf.matMul(ofPast!, past.values), tf.matMul(ofPresent!, values)) // [H, S, D]
  return { out: unheads(tf.reshape(mixed, [1, H, S, D])), keys, values }
}
