import { after } from './after.ts'
import { ONNX_TYPE, type OnnxBuilder } from './builder.ts'
import { type LowerContext, scaleInput } from './kernel.ts'

/**
 * A frozen matrix as float32, but for the scales of int8: a factor for each line along `axis`, cheaper on what the
 * matrix is multiplied with than on the matrix.
 *
 * A plain Cast of a graph's input could run at any time, and ONNX Runtime runs it first and keeps the result until the
 * last use: 537 M parameters in float16 then took 5.6 GB, more than float32 would. So the cast waits for `anchor`, the
 * tensor that the matrix is about to be multiplied with.
 */
export function frozenMatrix(
  onnx: OnnxBuilder,
  c: LowerContext,
  input: string,
  anchor: string,
): FrozenMatrix {
  const value = c.value(input)
  const { storage } = value
  if (storage === undefined) return { name: c.name(input), scales: undefined }
  const stored = after(onnx, c.name(input), value, [anchor])
  const name = onnx.op('Cast', [stored], { attrs: { to: ONNX_TYPE.float32 } })
  const scales = storage.type === 'int8' ? { name: c.name(scaleInput(input)), axis: storage.axis } : undefined
  return { name, scales }
}

export interface FrozenMatrix {
  readonly name: string
  /** What the lines along `axis` are still to be multiplied with. */
  readonly scales: { readonly name: string; readonly axis: 0 | 1 } | undefined
}

interface ProductOptions {
  readonly alpha?: number
  readonly transA?: boolean
  readonly transB?: boolean
  readonly c?: string | undefined
  readonly beta?: 1 | -1
}

/** alpha op(a) op(b) + beta c */
export function product(
  onnx: OnnxBuilder,
  a: string,
  { name: b, scales }: FrozenMatrix,
  options: ProductOptions,
): string {
  const { alpha = 1, transA = false, transB = false, c, beta = 1 } = options
  const attrs = { alpha: { float: alpha }, transA: Number(transA), transB: Number(transB) }
  const gemm = (a: string, c: string | undefined) =>
    c === undefined
      ? onnx.op('Gemm', [a, b], { attrs })
      : onnx.op('Gemm', [a, b, c], { attrs: { ...attrs, beta: { float: beta } } })
  if (scales === undefined) return gemm(a, c)
  // Scales of op(b)'s rows belong to op(a)'s columns, those of its columns to the product's.
  if (scales.axis === (transB ? 1 : 0)) {
    const scale = transA ? onnx.op('Unsqueeze', [scales.name, onnx.ints([1])]) : scales.name
    return gemm(onnx.op('Mul', [a, scale]), c)
  }
  const scaled = onnx.op('Mul', [gemm(a, undefined), scales.name])
  return c === undefined ? scaled : onnx.op(beta === 1 ? 'Add' : 'Sub', [scaled, c])
}

/** Rows of a frozen matrix as float32. */
export function frozenRows(onnx: OnnxBuilder, c: LowerContext, input: string, rows: string): string {
  const { storage } = c.value(input)
  const pick = (from: string) => onnx.op('Gather', [c.name(from), rows], { attrs: { axis: 0 } })
  if (storage === undefined) return pick(input)
  const numbers = onnx.op('Cast', [pick(input)], { attrs: { to: ONNX_TYPE.float32 } })
  if (storage.type === 'float16') return numbers
  const scale =
    storage.axis === 1
      ? c.name(scaleInput(input))
      : onnx.op('Unsqueeze', [pick(scaleInput(input)), onnx.ints([1])])
  return onnx.op('Mul', [numbers, scale])
}
