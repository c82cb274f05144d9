import { loraScale } from '@comigs/model/light'
import { Matrix, QrDecomposition, SingularValueDecomposition } from 'ml-matrix'
import { PAPER } from '../../paper.ts'
import { factors, fullRank, matrixOf } from '../factors.ts'
import type { Merge } from '../merge.ts'
import { everything, type Strategy } from '../strategy.ts'

/**
 * Everyone goes on with the best approximation, of its own rank, of the mean of what the LoRAs do: `mean_i s_i A_i B_i`,
 * cut off after the largest singular values, which are shared evenly between A and B. The mean is never made whole: it is
 * `L R`, all A side by side times all B one above the other, and with `L = Q_L T_L`, `R' = Q_R T_R` its singular values are
 * those of the small `T_L T_R'`.
 */
const approximateMean: Merge = ({ vectors, layouts }) => {
  const merged = vectors.map((vector) => vector.slice())
  for (const layer of factors(layouts)) {
    const users = layer.map(({ a, b, rank }, user) => ({
      vector: vectors[user]!,
      a,
      b,
      rank,
      scale: loraScale({ rank, alpha: PAPER.lora.alpha }),
    }))
    const left = users.map(({ vector, a, scale }) => matrixOf(vector, a).mul(scale / users.length))
    const right = users.map(({ vector, b }) => matrixOf(vector, b).transpose())
    const [ofLeft, ofRight] = [orthogonal(sideBySide(left)), orthogonal(sideBySide(right))]
    const core = ofLeft.t.mmul(ofRight.t.transpose())
    const svd = new SingularValueDecomposition(core, { autoTranspose: true })
    const u = ofLeft.q.mmul(svd.leftSingularVectors)
    const v = ofRight.q.mmul(svd.rightSingularVectors)
    users.forEach(({ a, b, rank, scale }, user) => {
      const own = merged[user]!
      own.fill(0, a.offset, a.offset + a.size).fill(0, b.offset, b.offset + b.size)
      for (let k = 0; k < Math.min(rank, svd.diagonal.length); k++) {
        const root = Math.sqrt(svd.diagonal[k]! / scale)
        for (let i = 0; i < a.shape[0]!; i++) own[a.offset + i * rank + k] = root * u.get(i, k)
        for (let j = 0; j < b.shape[1]!; j++) own[b.offset + k * b.shape[1]! + j] = root * v.get(j, k)
      }
    })
  }
  return { vectors: merged, bytes: Math.max(...vectors.map(({ byteLength }) => byteLength)) }
}

function sideBySide(parts: readonly Matrix[]): Matrix {
  const columns = parts.reduce((sum, part) => sum + part.columns, 0)
  const all = new Matrix(parts[0]!.rows, columns)
  let at = 0
  for (const part of parts) {
    all.setSubMatrix(part, 0, at)
    at += part.columns
  }
  return all
}

/** `matrix = q t`, q with orthonormal columns, t no larger than need be. */
function orthogonal(matrix: Matrix): { q: Matrix; t: Matrix } {
  if (matrix.rows <= matrix.columns) return { q: Matrix.eye(matrix.rows), t: matrix }
  const { orthogonalMatrix: q, upperTriangularMatrix: t } = new QrDecomposition(matrix)
  return { q, t }
}

/** Bai et al. 2024 (arXiv 2402.11505), as its paper means it: the public code of CoMiGS keeps the last user's LoRA only. */
export const flexlora: Strategy = {
  name: 'flexlora',
  says: 'LoRA of unequal ranks, the product is averaged and factored anew',
  mixture: (user) => ({
    experts: 1,
    rank: fullRank(user),
    alpha: PAPER.lora.alpha,
    routing: 'mean',
  }),
  trains: 'experts',
  shares: everything,
  merge: approximateMean,
}
