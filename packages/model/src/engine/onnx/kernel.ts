import type { DType, HostArray, Node, TensorSpec, Value } from '../graph.ts'
import type { OnnxBuilder } from './builder.ts'

/** Beside an input in int8 the recorder hands a kernel its scales, under this name. */
export const scaleInput = (input: string): string => `${input}Scale`

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
  /** Inputs that may be frozen matrices in float16 or int8. @default none */
  readonly stored?: readonly string[]
  /** @returns ONNX names of the outputs, in order; an unused one may be '' */
  lower(onnx: OnnxBuilder, context: LowerContext): readonly string[]
}
