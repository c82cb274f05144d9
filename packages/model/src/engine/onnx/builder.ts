import type { DType, HostArray, InputSpec, TensorSpec, Value } from '../graph.ts'
import type { Storage } from '../storage.ts'
import { type AttributeProto, ModelProto, type NodeProto, type TensorProto } from './pb/onnx.ts'

/** Element types of TensorProto (ONNX specification, TensorProto.DataType). */
export const ONNX_TYPE = {
  float32: 1,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
} as const satisfies Record<DType | Storage['type'] | 'int64', number>
const ATTRIBUTE = { float: 1, int: 2, string: 3, ints: 7 } as const

/** Operators of the default domain as of opset 20 (Gelu, and reductions with their axes as input). */
const OPSET = 20
const MICROSOFT = 'com.microsoft'

export interface OpOptions {
  readonly attrs?: Readonly<Record<string, number | string | readonly number[] | { readonly float: number }>>
  /** How many outputs to name. @default 1 */
  readonly outputs?: number
  /** An operator of ONNX Runtime's own domain. @default false */
  readonly contrib?: boolean
}

/** What an execution provider can do of what lowerings like to use. Without it they say the same in other operators. */
export interface Dialect {
  /** `com.microsoft.FusedMatMul`: products of transposed operands, scaled. */
  readonly fusedMatMul: boolean
  readonly logSoftmax: boolean
  /** `com.microsoft.RotaryEmbedding` and `QuickGelu`, `SimplifiedLayerNormalization`. */
  readonly llama: boolean
  /** Outputs of one Split. */
  readonly splitOutputs: number
  /** Whether the Size of a tensor can be asked for without moving the tensor. */
  readonly size: boolean
  /** Frozen matrices in float16 and int8. */
  readonly storage: boolean
}

/** The CPU providers, native and wasm, do everything. */
export const CPU_DIALECT: Dialect = {
  fusedMatMul: true,
  logSoftmax: true,
  llama: true,
  splitOutputs: Infinity,
  size: true,
  storage: true,
}

/** Collects ONNX nodes under fresh names; constants are shared by value. */
export class OnnxBuilder {
  readonly dialect: Dialect
  readonly #nodes: NodeProto[] = []
  readonly #initializers = new Map<string, TensorProto>()
  readonly #inputs: { name: string; spec: InputSpec }[] = []
  readonly #outputs: { name: string; spec: TensorSpec }[] = []
  readonly #shapes = new Map<string, InputSpec>()
  #next = 0

  constructor(dialect: Dialect = CPU_DIALECT) {
    this.dialect = dialect
  }

  /** Adds one node and returns the name of its first output. */
  op(opType: string, inputs: readonly string[], options: OpOptions = {}): string {
    return this.ops(opType, inputs, { ...options, outputs: options.outputs ?? 1 })[0]!
  }

  /** Adds one node and returns the names of all its outputs. */
  ops(opType: string, inputs: readonly string[], options: OpOptions & { outputs: number }): string[] {
    const output = Array.from({ length: options.outputs }, () => `t${this.#next++}`)
    this.#nodes.push({
      name: `${opType}_${this.#nodes.length}`,
      opType,
      domain: options.contrib === true ? MICROSOFT : '',
      input: [...inputs],
      output,
      attribute: Object.entries(options.attrs ?? {}).map(([name, value]) => attribute(name, value)),
    })
    return output
  }

  ints(values: readonly number[]): string {
    const data = BigInt64Array.from(values, BigInt)
    return this.#initializer(`i64[${values.join()}]`, ONNX_TYPE.int64, [values.length], bytesOf(data))
  }

  /** A float scalar (rank 0). */
  float(value: number): string {
    return this.#initializer(`f32(${value})`, ONNX_TYPE.float32, [], bytesOf(Float32Array.of(value)))
  }

  /** A float array that lowerings share under a key of theirs. */
  floats(key: string, shape: readonly number[], values: Float32Array): string {
    return this.#initializer(key, ONNX_TYPE.float32, shape, bytesOf(values))
  }

  constant(value: Value, data: HostArray): string {
    const raw = bytesOf(data)
    // By bytes, not by printed values: 0 and -0 differ.
    const bits = data.length <= 16 ? Buffer.from(raw).toString('hex') : undefined
    const key = bits === undefined ? `c${value.id}` : `${value.dtype}[${value.shape.join()}]{${bits}}`
    return this.#initializer(key, ONNX_TYPE[value.dtype], value.shape, raw)
  }

  input(name: string, spec: InputSpec): string {
    this.#inputs.push({ name, spec })
    return name
  }

  /** Publishes a value under the name by which the caller knows it. */
  output(name: string, from: string, spec: TensorSpec): void {
    this.#nodes.push({
      name: `output_${name}`,
      opType: 'Identity',
      domain: '',
      input: [from],
      output: [name],
      attribute: [],
    })
    this.#outputs.push({ name, spec })
  }

  /** Gives the node that makes `from` the public name instead of copying, where nothing else claims it. */
  rename(name: string, from: string, spec: TensorSpec): boolean {
    const producer = this.#nodes.find((node) => node.output.includes(from))
    if (producer === undefined) return false
    producer.output = producer.output.map((o) => (o === from ? name : o))
    for (const node of this.#nodes) node.input = node.input.map((i) => (i === from ? name : i))
    this.#shapes.delete(from)
    this.#outputs.push({ name, spec })
    return true
  }

  /**
   * Says the shape of what a node makes. ONNX Runtime finds out itself, but not behind a shape that is only known when it
   * runs (`intsAfter`), and without a shape it writes nothing in the place of what is no longer needed.
   */
  shaped(name: string, spec: InputSpec): string {
    this.#shapes.set(name, spec)
    return name
  }

  get nodeCount(): number {
    return this.#nodes.length
  }

  /**
   * @param lastFirst - lists last things first: ONNX Runtime sorts nodes itself, and where several could be next it prefers
   * those that stand later in the list. So listed, a step runs nearly as it was written down, each gradient as soon as it
   * can be, and a gpt2-shaped step takes 1.7 GB instead of 2.2. Without an arena, memory then goes back to the system and
   * forth, and a step of the demo's shape takes a tenth longer (decision 007).
   */
  serialize(name: string, lastFirst: boolean): Uint8Array {
    const info = ({ name, spec }: { name: string; spec: InputSpec }) => ({
      name,
      type: {
        tensorType: {
          elemType: ONNX_TYPE[spec.storage?.type ?? spec.dtype],
          shape: { dim: spec.shape.map((dimValue) => ({ dimValue })) },
        },
      },
    })
    return ModelProto.encode({
      irVersion: 9,
      producerName: 'comigs',
      opsetImport: [
        { domain: '', version: OPSET },
        { domain: MICROSOFT, version: 1 },
      ],
      graph: {
        name,
        node: lastFirst ? this.#nodes.toReversed() : this.#nodes,
        initializer: [...this.#initializers.values()],
        input: this.#inputs.map(info),
        output: this.#outputs.map(info),
        valueInfo: [...this.#shapes].map(([name, spec]) => info({ name, spec })),
      },
    })
  }

  #initializer(key: string, dataType: number, dims: readonly number[], rawData: Uint8Array): string {
    let tensor = this.#initializers.get(key)
    if (tensor === undefined) {
      tensor = { name: `k${this.#initializers.size}`, dataType, dims: [...dims], rawData }
      this.#initializers.set(key, tensor)
    }
    return tensor.name
  }
}

function attribute(
  name: string,
  value: number | string | readonly number[] | { readonly float: number },
): AttributeProto {
  // As bigint: protons writes negative JavaScript numbers wrongly.
  const empty = { name, f: 0, i: 0n, s: new Uint8Array(), ints: [] }
  if (typeof value === 'number') return { ...empty, i: BigInt(value), type: ATTRIBUTE.int }
  if (typeof value === 'string')
    return { ...empty, s: new TextEncoder().encode(value), type: ATTRIBUTE.string }
  if ('float' in value) return { ...empty, f: value.float, type: ATTRIBUTE.float }
  return { ...empty, ints: value.map(BigInt), type: ATTRIBUTE.ints }
}

function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}
