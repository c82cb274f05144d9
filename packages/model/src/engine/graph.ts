/**
 * The intermediate form between tfjs and ONNX: a static, single-assignment graph of kernels.
 * The recorder makes it, the passes shrink it, the lowering turns it into an ONNX model.
 */
export type DType = 'float32' | 'int32' | 'bool'
export type HostArray = Float32Array | Int32Array | Uint8Array

export interface TensorSpec {
  readonly shape: readonly number[]
  readonly dtype: DType
}

/** A tensor of the graph: something that goes in, something known, or something a node makes. */
export interface Value extends TensorSpec {
  readonly id: number
  readonly origin:
    | { readonly kind: 'input'; readonly name: string }
    | { readonly kind: 'constant'; readonly data: HostArray }
    | { readonly kind: 'node'; readonly node: Node; readonly output: number }
}

export interface Node {
  readonly kernel: string
  /** Mutable: passes redirect inputs. */
  inputs: Record<string, Value>
  readonly attrs: Readonly<Record<string, unknown>>
  readonly outputs: Value[]
}

export interface Graph {
  readonly inputs: readonly Value[]
  readonly outputs: ReadonlyMap<string, Value>
  /** In topological order. */
  readonly nodes: readonly Node[]
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1)

export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i])
