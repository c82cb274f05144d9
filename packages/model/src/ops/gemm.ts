import * as tf from '@tensorflow/tfjs-core'
import { defineOperator } from './operator.ts'

export interface GemmOptions {
  /** Added to the product: `[N]` (a bias) or `[M, N]`. */
  readonly c?: tf.Tensor | undefined
  /** Factor of the product, not of `c`. @default 1 */
  readonly alpha?: number
  readonly transposeA?: boolean
  readonly transposeB?: boolean
}

const run = defineOperator({
  kernel: 'comigs.Gemm',
  compose: ({ a, b, c }, { alpha, transposeA, transposeB }) => {
    let product: tf.Tensor = tf.matMul(
      a as tf.Tensor2D,
      b as tf.Tensor2D,
      transposeA as boolean,
      transposeB as boolean,
    )
    if (alpha !== 1) product = tf.mul(product, alpha as number)
    return c === undefined ? product : tf.add(product, c)
  },
  gradient: {
    inputsToSave: ['a', 'b'],
    gradFunc: (dy, saved, attrs) => {
      const [a, b] = saved as [tf.Tensor2D, tf.Tensor2D]
      const dY = dy as tf.Tensor2D
      const { alpha, transposeA: tA, transposeB: tB, biasRank } = attrs as unknown as Required<GemmAttrs>
      return {
        a: () =>
          tA
            ? gemm(b, dY, { alpha, transposeA: tB, transposeB: true })
            : gemm(dY, b, { alpha, transposeB: !tB }),
        b: () =>
          tB
            ? gemm(dY, a, { alpha, transposeA: true, transposeB: tA })
            : gemm(a, dY, { alpha, transposeA: !tA }),
        c: () => (biasRank === 1 ? tf.sum(dY, 0) : tf.clone(dY)),
      }
    },
  },
})

interface GemmAttrs {
  alpha: number
  transposeA: boolean
  transposeB: boolean
  biasRank: number
}

/**
 * General matrix product `alpha · op(a) op(b) + c`, the one product that linear layers, LoRA and their gradients are
 * made of.
 * @param a - `[M, K]`, or `[K, M]` with `transposeA`
 * @param b - `[K, N]`, or `[N, K]` with `transposeB`
 * @returns `[M, N]`, owned by the caller
 */
export function gemm(a: tf.Tensor, b: tf.Tensor, options: GemmOptions = {}): tf.Tensor2D {
  const { c, alpha = 1, transposeA = false, transposeB = false } = options
  const attrs: GemmAttrs = { alpha, transposeA, transposeB, biasRank: c?.rank ?? 0 }
  return run(c === undefined ? { a, b } : { a, b, c }, { ...attrs })[0] as tf.Tensor2D
}
