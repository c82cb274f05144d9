import * as tf from '@tensorflow/tfjs-core'
import { ModelError } from '../errors.ts'
import { type DType, type Graph, type HostArray, type InputSpec, type Node, scaleName } from './graph.ts'
import type { TensorSpec, Value } from './graph.ts'
import { scaleInput } from './onnx/kernel.ts'
import { KERNELS } from './onnx/kernels.ts'
import { RECORDER_BACKEND } from '../ops/operator.ts'

type DataId = object
interface TensorInfo {
  readonly dataId: DataId
  readonly shape: number[]
  readonly dtype: tf.DataType
}

/**
 * A tfjs backend whose kernels note what they were asked to compute instead of computing it. tfjs calls them for the
 * forward pass and, through its own gradient tape, for the backward pass, so that a whole training step is written
 * down by running it once.
 */
class Recorder extends tf.KernelBackend {
  readonly #values = new Map<DataId, { value: Value; refs: number }>()
  #nodes: Node[] = []
  #inputs: Value[] = []
  #nextId = 0
  #step = ''

  begin(step: string): void {
    this.#step = step
    this.#nodes = []
    this.#inputs = []
    this.#nextId = 0
  }

  end(outputs: ReadonlyMap<string, Value>): Graph {
    return { inputs: this.#inputs, outputs, nodes: this.#nodes }
  }

  declare(name: string, spec: InputSpec): tf.Tensor {
    const input = (name: string, spec: InputSpec, scale?: Value): Value => {
      const value: Value = { id: this.#nextId++, ...spec, scale, origin: { kind: 'input', name } }
      this.#inputs.push(value)
      return value
    }
    const scale =
      spec.storage?.type === 'int8'
        ? input(scaleName(name), { shape: [spec.shape[spec.storage.axis]!], dtype: 'float32' })
        : undefined
    const value = input(name, spec, scale)
    const { dataId, shape, dtype } = this.#info(value)
    return tf.engine().makeTensorFromTensorInfo({ dataId, shape, dtype }, this)
  }

  valueBehind(tensor: { dataId: DataId }): Value {
    const held = this.#values.get(tensor.dataId)
    if (held === undefined) throw new Error('a tensor of another backend reached a traced step')
    return held.value
  }

  /** Adds a node and hands back one tensor info per output. */
  record(
    kernel: string,
    inputs: Record<string, Value>,
    attrs: Record<string, unknown>,
    specs: readonly TensorSpec[],
  ): TensorInfo[] {
    const outputs: Value[] = []
    const node: Node = { kernel, inputs, attrs, outputs }
    specs.forEach((spec, output) =>
      outputs.push({ id: this.#nextId++, ...spec, origin: { kind: 'node', node, output } }),
    )
    this.#nodes.push(node)
    return outputs.map((value) => this.#info(value))
  }

  constant(data: HostArray, shape: readonly number[], dtype: DType): TensorInfo {
    return this.#info({ id: this.#nextId++, shape, dtype, origin: { kind: 'constant', data } })
  }

  alias(value: Value): TensorInfo {
    return this.#info(value)
  }

  #info(value: Value): TensorInfo {
    const dataId = {}
    this.#values.set(dataId, { value, refs: 1 })
    return { dataId, shape: [...value.shape], dtype: value.dtype }
  }

  // What tfjs asks of every backend.
  override write(values: tf.BackendValues, shape: number[], dtype: tf.DataType): DataId {
    const dataId = {}
    this.move(dataId, values, shape, dtype, 1)
    return dataId
  }

  override move(
    dataId: DataId,
    values: tf.BackendValues,
    shape: number[],
    dtype: tf.DataType,
    refs: number,
  ): void {
    const data =
      dtype === 'float32' ? Float32Array.from(values as ArrayLike<number>) : intArray(values, dtype)
    const value: Value = {
      id: this.#nextId++,
      shape,
      dtype: dtype as DType,
      origin: { kind: 'constant', data },
    }
    this.#values.set(dataId, { value, refs })
  }

  override refCount(dataId: DataId): number {
    return this.#values.get(dataId)?.refs ?? 0
  }

  override incRef(dataId: DataId): void {
    const held = this.#values.get(dataId)
    if (held !== undefined) held.refs++
  }

  decRef(dataId: DataId): void {
    const held = this.#values.get(dataId)
    if (held !== undefined) held.refs--
  }

  override disposeData(dataId: DataId, force = false): boolean {
    const held = this.#values.get(dataId)
    if (held === undefined) return true
    held.refs--
    if (!force && held.refs > 0) return false
    this.#values.delete(dataId)
    return true
  }

  override numDataIds(): number {
    return this.#values.size
  }

  override readSync(): never {
    throw new ModelError({ code: 'VALUE_READ_WHILE_TRACING', step: this.#step })
  }

  override read(): Promise<never> {
    return Promise.reject(new ModelError({ code: 'VALUE_READ_WHILE_TRACING', step: this.#step }))
  }

  override memory(): { unreliable: boolean } {
    return { unreliable: false }
  }

  override floatPrecision(): 32 {
    return 32
  }

  override epsilon(): number {
    return 1e-7
  }

  override timerAvailable(): boolean {
    return false
  }

  override dispose(): void {
    this.#values.clear()
  }
}

function intArray(values: tf.BackendValues, dtype: tf.DataType): HostArray {
  return dtype === 'bool'
    ? Uint8Array.from(values as ArrayLike<number>)
    : Int32Array.from(values as ArrayLike<number>)
}

let recorder: Recorder | undefined

function theRecorder(): Recorder {
  if (recorder !== undefined) return recorder
  recorder = new Recorder()
  const backend = recorder
  tf.registerBackend(RECORDER_BACKEND, () => backend)
  for (const [kernelName, kernel] of Object.entries(KERNELS)) {
    tf.registerKernel({
      kernelName,
      backendName: RECORDER_BACKEND,
      kernelFunc: ({ inputs, attrs }) => {
        const values: Record<string, Value> = {}
        for (const [name, tensor] of Object.entries(inputs)) {
          if (tensor === undefined) continue
          const value = backend.valueBehind(tensor)
          values[name] = value
          if (value.storage === undefined) continue
          if (kernel.stored?.includes(name) !== true) {
            const storage = value.storage.type
            throw new ModelError({ code: 'STORAGE_UNSUPPORTED', kernel: kernelName, input: name, storage })
          }
          if (value.scale !== undefined) values[scaleInput(name)] = value.scale
        }
        const made = kernel.shape(values, attrs ?? {})
        if ('alias' in made) return backend.alias(made.alias)
        if ('constant' in made) return backend.constant(made.constant, made.shape, made.dtype)
        const infos = backend.record(kernelName, values, attrs ?? {}, made.outputs)
        return infos.length === 1 && made.single !== false ? infos[0]! : infos
      },
    })
  }
  return recorder
}

/**
 * Runs `build` once on tensors that hold no numbers and returns the graph of what it would have computed.
 *
 * @param name - for error messages
 * @param inputs - name, shape and type of every tensor that `build` is given
 * @param build - written in tfjs operators; shapes must be static and no value may be read
 * @throws ModelError `VALUE_READ_WHILE_TRACING` when `build` reads a value, `KERNEL_UNSUPPORTED` when it uses a kernel
 *   that has no lowering
 */
export function record(
  name: string,
  inputs: Readonly<Record<string, InputSpec>>,
  build: (tensors: Record<string, tf.Tensor>) => Record<string, tf.Tensor>,
): Graph {
  const backend = theRecorder()
  const previous = tf.engine().backendName as string | undefined // undefined before the first
  // setBackend is synchronous for a backend whose factory is.
  void tf.setBackend(RECORDER_BACKEND)
  try {
    backend.begin(name)
    const outputs = new Map<string, Value>()
    tf.tidy(() => {
      const tensors = Object.fromEntries(
        Object.entries(inputs).map(([key, spec]) => [key, backend.declare(key, spec)]),
      )
      for (const [key, tensor] of Object.entries(build(tensors)))
        outputs.set(key, backend.valueBehind(tensor))
    })
    return backend.end(outputs)
  } catch (error) {
    const missing = /Kernel '([^']+)' not registered/.exec(error instanceof Error ? error.message : '')
    if (missing !== null)
      throw new ModelError({ code: 'KERNEL_UNSUPPORTED', kernel: missing[1]!, engine: 'onnx' })
    throw error
  } finally {
    if (previous !== undefined) void tf.setBackend(previous)
  }
}
