import type { OnnxBuilder } from './builder.ts'

// Operators that not every execution provider has: the fast form where there is one, others that mean the same elsewhere.

export interface MatMulOptions {
  /** Of both operands. */
  readonly rank: number
  readonly transposeA?: boolean
  readonly transposeB?: boolean
  /** Factor of the product. @default 1 */
  readonly alpha?: number
}

/** `alpha · op(a) op(b)` over the last two axes. */
export function matMul(onnx: OnnxBuilder, a: string, b: string, options: MatMulOptions): string {
  const { rank, transposeA = false, transposeB = false, alpha = 1 } = options
  if (!transposeA && !transposeB && alpha === 1) return onnx.op('MatMul', [a, b])
  if (onnx.dialect.fusedMatMul) {
    const attrs = { transA: Number(transposeA), transB: Number(transposeB), alpha: { float: alpha } }
    return onnx.op('FusedMatMul', [a, b], { contrib: true, attrs })
  }
  const axes = Array.from({ length: rank }, (_, axis) => axis)
  const perm = [...axes.slice(0, -2), rank - 1, rank - 2]
  const flipped = (x: string, flip: boolean) => (flip ? onnx.op('Transpose', [x], { attrs: { perm } }) : x)
  const product = onnx.op('MatMul', [flipped(a, transposeA), flipped(b, transposeB)])
  return alpha === 1 ? product : onnx.op('Mul', [product, onnx.float(alpha)])
}

/** Over the last axis. */
export function logSoftmax(onnx: OnnxBuilder, x: string): string {
  if (onnx.dialect.logSoftmax) return onnx.op('LogSoftmax', [x], { attrs: { axis: -1 } })
  const last = onnx.ints([-1])
  const shifted = onnx.op('Sub', [x, onnx.op('ReduceMax', [x, last], { attrs: { keepdims: 1 } })])
  const sum = onnx.op('ReduceSum', [onnx.op('Exp', [shifted]), last], { attrs: { keepdims: 1 } })
  return onnx.op('Sub', [shifted, onnx.op('Log', [sum])])
}

/** Cuts along an axis into pieces of these sizes. */
export function split(onnx: OnnxBuilder, x: string, sizes: readonly number[], axis: number): string[] {
  if (sizes.length <= onnx.dialect.splitOutputs)
    return onnx.ops('Split', [x, onnx.ints(sizes)], { outputs: sizes.length, attrs: { axis } })
  let from = 0
  return sizes.map((size) => {
    const bounds = [onnx.ints([from]), onnx.ints([from + size])]
    from += size
    return onnx.op('Slice', [x, ...bounds, onnx.ints([axis])])
  })
}
