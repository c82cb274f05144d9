import { loraScale } from '@comigs/model/light'
import { type Factors, factors, fullRank, matrixOf } from '../factors.ts'
import type { Merge, SharedVectors } from '../merge.ts'
import { everything, single, type Strategy } from '../strategy.ts'

/**
 * A LoRA of a low rank is one of the largest rank with zeros behind. Users are weighted by the norm of what theirs does,
 * `|A B|`, layer by layer, and get the sum cut to their rank. Weights are of all users, also for directions that few have.
 */
const weightedByNorm: Merge = (input) => {
  const { vectors, layouts } = input
  const widest = widestOf(input)
  const sum = new Float32Array(vectors[widest]!.length)
  for (const users of factors(layouts)) {
    const norms = users.map((own, user) => productNorm(vectors[user]!, own))
    const total = norms.reduce((sum, norm) => sum + norm)
    users.forEach((own, user) => {
      const weight = total > 0 ? norms[user]! / total : 1 / users.length
      addDirections({ vector: sum, at: users[widest]! }, { vector: vectors[user]!, at: own }, weight)
    })
  }
  return { vectors: cut(sum, input), bytes: sum.byteLength }
}

/** Everyone begins with the first directions of whoever has most: what is averaged must mean the same to all. */
const oneStart = (input: SharedVectors) => cut(input.vectors[widestOf(input)]!, input)

const widestOf = ({ vectors }: SharedVectors): number => {
  const sizes = vectors.map(({ length }) => length)
  return sizes.indexOf(Math.max(...sizes))
}

/** The first directions of a vector of the largest rank, as many as each user has. */
function cut(whole: Float32Array, input: SharedVectors): Float32Array[] {
  const parts = input.vectors.map(({ length }) => new Float32Array(length))
  const widest = widestOf(input)
  for (const users of factors(input.layouts)) {
    const from = { vector: whole, at: users[widest]! }
    users.forEach((at, user) => {
      addDirections({ vector: parts[user]!, at }, from, 1)
    })
  }
  return parts
}

interface Located {
  readonly vector: Float32Array
  readonly at: Factors
}

/** `to += weight * from`, as many directions as both have: columns of A, rows of B. */
function addDirections(to: Located, from: Located, weight: number): void {
  const rank = Math.min(to.at.rank, from.at.rank)
  const [inputs, outputs] = [from.at.a.shape[0]!, from.at.b.shape[1]!]
  for (let i = 0; i < inputs; i++) {
    for (let k = 0; k < rank; k++)
      to.vector[to.at.a.offset + i * to.at.rank + k]! +=
        weight * from.vector[from.at.a.offset + i * from.at.rank + k]!
  }
  for (let k = 0; k < rank * outputs; k++)
    to.vector[to.at.b.offset + k]! += weight * from.vector[from.at.b.offset + k]!
}

/** `|A B|`, Frobenius: the square is the sum of the products of the elements of `A' A` and `B B'`, both small. */
function productNorm(vector: Float32Array, at: Factors): number {
  const [a, b] = [matrixOf(vector, at.a), matrixOf(vector, at.b)]
  return Math.sqrt(Math.max(0, a.transpose().mmul(a).mul(b.mmul(b.transpose())).sum()))
}

/**
 * Cho et al. 2024 (arXiv 2401.06432), without the pruning of ranks, which needs a penalty in the loss. Padding with zeros
 * changes no product, so alpha is such that all ranks have the scale of the others' experts.
 */
export const hetlora: Strategy = {
  name: 'hetlora',
  says: 'LoRA of unequal ranks, padded with zeros, weighted by norm, cut',
  mixture: (user) => ({
    experts: 1,
    rank: fullRank(user),
    alpha: loraScale(single()) * Math.sqrt(fullRank(user)),
    routing: 'mean',
  }),
  trains: 'experts',
  shares: everything,
  begins: oneStart,
  merge: weightedByNorm,
}
