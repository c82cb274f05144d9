import type { DType, HostArray, Node, TensorSpec, Value } from '../graph.ts'
import type { OnnxBuilder } from './builder.ts'

export type Attrs = Readonly<Record<string, unknown>>
export type Inputs = Readonly<Record<string, Value>>

/** What a kernel would make: new tensors, a view of an old one, or something already known. */
export type Made =
  | { readonly outputs: readonly TensorSpec[]; /** false: an array even of one. */ readonly single?: boolean }
  | { readonly alias: Value }
  | { readonly constant: HostArray; readonly shape: readonly number[]; readonly dtype: DType }

export interface LowerContext {
  readonly node: Node
  readonly attrs: Attrs
  /** Whether anything reads the output. */
  readonly used: readonly boolean[]
  /** ONNX name of an input. */
  name(input: string): string
  value(input: string): Value
}

/** One tfjs kernel as the engine knows it: the shapes it makes, and the ONNX nodes that compute it. */
export interface Kernel {
  shape(inputs: Inputs, attrs: Attrs): Made
  /** @returns ONNX names of the outputs, in order; an unused one may be '' */
  lower(onnx: OnnxBuilder, context: LowerContext): readonly string[]
}
