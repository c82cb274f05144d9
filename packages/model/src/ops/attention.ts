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
  const { heads: H, kvHeads: K } = shape
  const repeated = (x: tf.Tensor4D): tf.Tensor4D => {
    const [B, , T, D] = x.shape
    return tf.reshape(tf.tile(tf.reshape(x, [B, K, 1, T, D]), [1, 1, H / K, 1, 1]), [B, H, T, D])
  }
  const [q, k, v] = separate(qkv, shape)
  return [q, repeated(k), repeated(v)]
}

/** Queries `[B, H, T, D]`, keys and values `[B, K, T, D]` each. */
function separate(qkv: tf.Tensor, shape: AttentionShape): [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D] {
  const { batch: B, heads: H, kvHeads: K } = shape
  const [N, width] = qkv.shape as [number, number]
  const D = width / (H + 2 * K)
  const parts = tf.split(qkv, [H * D, K * D, K * D], 1)
  return parts.map((x) => {
    const byHead = tf.reshape<tf.Rank.R4>(x, [B, N / B, x.shape[1]! / D, D])
    return tf.transpose(byHead, [0, 2, 1, 3])
  }) as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D]
}

function unheads(x: tf.Tensor): tf.Tensor2D {
  const [B, H, T, D] = x.shape as [number, number, number, number]
  return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [B * T, H * D])
}

/** `[T, T]`, 0 where column <= row, MASKED elsewhere; again below itself until there are as many rows as asked for. */
export function causalMask(T: number, rows = T): tf.Tensor2D {
  return tf.tensor2d(causalMaskValues(T, rows), [rows, T])
}

export function causalMaskValues(T: number, rows = T): Float32Array {
  return Float32Array.from({ length: rows * T }, (_, i) => (i % T <= Math.floor(i / T) % T ? 0 : MASKED))
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

/** Keys and values of the tokens before, and which of their rows are filled. */
export interface Past {
  /** `[K, P, D]` */
  readonly keys: tf.Tensor3D
  /** `[K, P, D]` */
  readonly values: tf.Tensor3D
  /** `[P]`: 0 where a row holds a token, MASKED where it holds none. */
  readonly mask: tf.Tensor1D
}

/**
 * Attention of new tokens to all that came before them and, causally, to each other. Past and present are two products
 * under one softmax, so that the past is read where it lies and never copied, nor repeated: the H / K heads of queries that
 * a head of keys serves are rows of one product.
 * @param qkv - queries, keys and values of S new tokens of one text, `[S, (H + 2 K) D]`
 * @returns `out` `[S, H D]`, and `keys` and `values` of the new tokens, `[K, S, D]`; owned by the caller
 */
export function attentionToPast(
  qkv: tf.Tensor2D,
  past: Past,
): { readonly out: tf.Tensor2D; readonly keys: tf.Tensor3D; readonly values: tf.Tensor3D } {
  const [K, P, D] = past.keys.shape
  const [S, width] = qkv.shape
  const H = width / D - 2 * K
  const rows = (H / K) * S
  const [q, k, v] = separate(qkv, { batch: 1, heads: H, kvHeads: K })
  const queries = tf.mul(tf.reshape(q, [K, rows, D]), 1 / Math.sqrt(D))
  const [keys, values] = [k, v].map((x) => tf.reshape(x, [K, S, D])) as [tf.Tensor3D, tf.Tensor3D]
  const toPast = tf.add(tf.matMul(queries, past.keys, false, true), past.mask) // [K, rows, P]
  const toPresent = tf.add(tf.matMul(queries, keys, false, true), causalMask(S, rows)) // [K, rows, S]
  const probs = tf.softmax(tf.concat([toPast, toPresent], 2))
  const [ofPast, ofPresent] = tf.split<tf.Tensor3D>(probs, [P, S], 2)
  const mixed = tf.add(tf.matMul(ofPast!, past.values), tf.matMul(ofPresent!, values)) // [K, rows, D]
  return { out: unheads(tf.reshape(mixed, [1, H, S, D])), keys, values }
}
