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

/** x sigmoid(x) */
export function silu(onnx: OnnxBuilder, x: string): string {
  if (onnx.dialect.llama) return onnx.op('QuickGelu', [x], { contrib: true, attrs: { alpha: { float: 1 } } })
  return onnx.op('Mul', [x, onnx.op('Sigmoid', [x])])
}

/** @returns gain x / rms(x), and 1 / rms(x), over the last axis */
export function rmsNorm(onnx: OnnxBuilder, x: string, gain: string, epsilon: number): string[] {
  if (onnx.dialect.llama) {
    const attrs = { axis: -1, epsilon: { float: epsilon } }
    return onnx.ops('SimplifiedLayerNormalization', [x, gain], { attrs, outputs: 2 })
  }
  const square = onnx.op('ReduceMean', [onnx.op('Mul', [x, x]), onnx.ints([-1])], { attrs: { keepdims: 1 } })
  const rms = onnx.op('Sqrt', [onnx.op('Add', [square, onnx.float(epsilon)])])
  const rstd = onnx.op('Div', [onnx.float(1), rms])
  return [onnx.op('Mul', [onnx.op('Mul', [x, rstd]), gain]), rstd]
}

/**
 * Turns channel i of each head and channel i + D/2 by the angles of `cos` and `sin`, `[T, D / 2]`.
 * @param shape - of x: batch B, tokens T of a sequence, heads H, width D of a head
 * @returns as many numbers in another shape
 */
export function rotary(
  onnx: OnnxBuilder,
  x: string,
  cos: string,
  sin: string,
  [B, T, H, D]: readonly [number, number, number, number],
): string {
  if (onnx.dialect.llama) {
    const bySequence = onnx.op('Reshape', [x, onnx.ints([B, T, H * D])])
    const attrs = { interleaved: 0 }
    return onnx.op('RotaryEmbedding', [bySequence, onnx.ints([0]), cos, sin], { contrib: true, attrs })
  }
  const [first, second] = split(onnx, onnx.op('Reshape', [x, onnx.ints([B, T, H, D])]), [D / 2, D / 2], 3)
  const [c, s] = [cos, sin].map((table) => onnx.op('Reshape', [table, onnx.ints([1, T, 1, D / 2])]))
  const mul = (a: string | undefined, b: string | undefined) => onnx.op('Mul', [a!, b!])
  const turned = [
    onnx.op('Sub', [mul(first, c), mul(second, s)]),
    onnx.op('Add', [mul(second, c), mul(first, s)]),
  ]
  return onnx.op('Concat', turned, { attrs: { axis: 3 } })
}
