import type { Storage } from './storage.ts'

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

/** A graph's input, as it is declared: a tensor, or a frozen matrix that is kept in fewer bytes than float32 takes. */
export interface InputSpec extends TensorSpec {
  readonly storage?: Storage | undefined
}

/** A tensor of the graph: something that goes in, something known, or something a node makes. */
export interface Value extends InputSpec {
  readonly id: number
  /** With storage `int8`: the scale of each line. */
  readonly scale?: Value | undefined
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
  /** A value that is there before this node runs, although the node does not read it. */
  readonly since?: Value | undefined
}

export interface Graph {
  readonly inputs: readonly Value[]
  readonly outputs: ReadonlyMap<string, Value>
  /** In topological order. */
  readonly nodes: readonly Node[]
}

/** Name of the input that holds the scales of an input in int8. */
export const scaleName = (name: string): string => `${name}#scale`

export const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1)

export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i])
