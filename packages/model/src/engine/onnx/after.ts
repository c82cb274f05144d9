import type { InputSpec } from '../graph.ts'
import type { OnnxBuilder } from './builder.ts'

/**
 * Whole numbers that are known only when these tensors are there, so that what reads them runs later: ONNX Runtime orders
 * nodes by what they need, not by what they leave in memory.
 */
export function intsAfter(onnx: OnnxBuilder, values: readonly number[], tensors: readonly string[]): string {
  if (!onnx.dialect.size) return onnx.ints(values)
  return tensors.reduce((known, tensor) => {
    const nothing = onnx.op('Mul', [onnx.op('Size', [tensor]), onnx.ints([0])]) // [1]
    return onnx.op('Add', [known, nothing])
  }, onnx.ints(values))
}

/** A tensor that is known only when these are there: the same bytes. */
export function after(onnx: OnnxBuilder, name: string, spec: InputSpec, tensors: readonly string[]): string {
  return onnx.shaped(onnx.op('Reshape', [name, intsAfter(onnx, spec.shape, tensors)]), spec)
}
