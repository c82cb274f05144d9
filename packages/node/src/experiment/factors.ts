import { Matrix } from 'ml-matrix'
import type { SharedArray } from './merge.ts'

const [A, B] = ['.lora_A', '.lora_B']
const RANKS = [32, 16, 16, 16]

/** The paper's "full" ranks: as many parameters as 4, 2, 2, 2 experts of rank 8. */
export const fullRank = (user: number): number => RANKS[user % RANKS.length]!

/** A user's LoRA of one layer: where A `[in, rank]` and B `[rank, out]` are in what it shares. */
export interface Factors {
  readonly a: SharedArray
  readonly b: SharedArray
  readonly rank: number
}

/** Of every layer, each user's. */
export function factors(layouts: readonly (readonly SharedArray[])[]): Factors[][] {
  const named = (layout: readonly SharedArray[], name: string) => layout.find((one) => one.name === name)!
  return layouts[0]!
    .filter(({ name }) => name.endsWith(A))
    .map(({ name }) =>
      layouts.map((layout) => {
        const a = named(layout, name)
        return { a, b: named(layout, name.slice(0, -A.length) + B), rank: a.shape[1]! }
      }),
    )
}

export function matrixOf(vector: Float32Array, { shape, offset, size }: SharedArray): Matrix {
  return Matrix.from1DArray(shape[0]!, shape[1]!, vector.subarray(offset, offset + size))
}
