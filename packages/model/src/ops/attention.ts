import * as tf from '@tensorflow/tfjs-core'
import { defineOperator } from './operator.ts'

export interface AttentionShape {
  /** Sequences in the batch, B. */
  readonly batch: number
  /** Heads of queries, H. */
  readonly heads: number
  /** Heads of keys and of values, K; each serves H / K heads of queries (grouped-query attention, arXiv 2305.13245). */
  readonly kvHeads: number
}

/** Added to the scores of positions that a token must not see. */
export const MASKED = -1e9

// B batch, T tokens of a sequence, H heads, K heads of keys, G = H / K, D width of a head, C = H D.
const run = defineOperator({
  kernel: 'comigs.Attention',
  compose: ({ qkv }, attrs) => {
    const [q, k, v] = heads(qkv!, attrs as unknown as AttentionShape)
    const [T, D] = q.shape.slice(-2) as [number, number]
    const scores = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(D)) // [B, H, T, T]
    const probs = tf.softmax(tf.add(scores, causalMask(T)))
    return [unheads(tf.matMul(probs, v)), probs]
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
    const shape = attrs as unknown as AttentionShape
    const { batch: B, heads: H, kvHeads: K } = shape
    const [q, k, v] = heads(qkv!, shape)
    const [T, D] = q.shape.slice(-2) as [number, number]
    const split = (x: tf.Tensor) => tf.transpose(tf.reshape(x, [B, T, H, D]), [0, 2, 1, 3])
    const dOut = split(dy!) // [B, H, T, D]
    const dV = tf.matMul(probs!, dOut, true, false)
    const dProbs = tf.matMul(dOut, v, false, true) // [B, H, T, T]
    // Row sums of dProbs ⊙ probs equal those of dOut ⊙ out, over D instead of T columns (FlashAttention, arXiv 2205.14135, B.4).
    const rows = tf.sum(tf.mul(dOut, split(out!)), -1, true)
    const dScores = tf.mul(tf.mul(probs!, tf.sub(dProbs, rows)), 1 / Math.sqrt(D))
    const dQ = tf.matMul(dScores, k)
    const dK = tf.matMul(dScores, q, true, false)
    // A head of keys learns from all heads of queries that it serves.
    const grouped = (x: tf.Tensor) => tf.sum(tf.reshape(x, [B, K, H / K, T, D]), 2)
    return tf.concat([dQ, grouped(dK), grouped(dV)].map(unheads), 1)
  },
})

/** Queries, keys and values, `[B, H, T, D]` each: keys and values are repeated for every head of queries that they serve. */
function heads(qkv: tf.Tensor, shape: AttentionShape): [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D] {
  const { batch: B, heads: H, kvHeads: K } = shape
  const [N, width] = qkv.shape as [number, number]
  const T = N / B
  const D = width / (H + 2 * K)
  const [q, k, v] = tf.split(qkv, [H * D, K * D, K * D], 1) as [tf.Tensor, tf.Tensor, tf.Tensor]
  const byHead = (x: tf.Tensor, n: number): tf.Tensor4D =>
    tf.transpose(tf.reshape<tf.Rank.R4>(x, [B, T, n, D]), [0, 2, 1, 3])
  const repeated = (x: tf.Tensor): tf.Tensor4D => {
    const perGroup = tf.reshape(byHead(x, K), [B, K, 1, T, D])
    return tf.reshape(tf.tile(perGroup, [1, 1, H / K, 1, 1]), [B, H, T, D])
  }
  return [byHead(q, H), repeated(k), repeated(v)]
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
 * @param qkv - queries, keys and values side by side, `[B T, (H + 2 K) D]`, rows sequence by sequence
 * @returns `[B T, H D]`, owned by the caller
 */
export function attention(
  qkv: tf.Tensor2D,
  { batch, heads, kvHeads = heads }: Omit<AttentionShape, 'kvHeads'> & { readonly kvHeads?: number },
): tf.Tensor2D {
  return run({ qkv }, { batch, heads, kvHeads })[0] as tf.Tensor2D
}
