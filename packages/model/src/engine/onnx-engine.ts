import type { InferenceSession, Tensor } from 'onnxruntime-common'
import { ModelError } from '../errors.ts'
import type { Engine, Program, Step } from './engine.ts'
import { checked } from './inputs.ts'
import { type HostArray, type InputSpec, scaleName, sizeOf, type TensorSpec } from './graph.ts'
import { inputName, lower, publicName } from './onnx/lower.ts'
import { simplify } from './passes.ts'
import { record } from './recorder.ts'
import { restore, type Storage, store } from './storage.ts'

/** What this engine needs of onnxruntime-node or onnxruntime-web. */
export interface OrtLibrary {
  readonly InferenceSession: typeof InferenceSession
  readonly Tensor: typeof Tensor
}

export interface OnnxEngineOptions {
  /** Threads of one operator. @default 1 */
  readonly threads?: number
  readonly device: string
}

/** An array with its twin: a program reads one and writes the other, then they change places. Nothing is copied. */
interface Slot {
  current: Tensor
  spare: Tensor | undefined
  /** How a frozen matrix is kept; the scales of int8 are an array of their own. */
  storage?: Storage | undefined
}

/** Runs steps as ONNX graphs, recorded once and replayed by ONNX Runtime. */
export function createOnnxEngine(ort: OrtLibrary, options: OnnxEngineOptions): Engine {
  const slots = new Map<string, Slot>()
  const programs = new Set<Program>()
  const tensorOf = ({ dtype, shape }: TensorSpec, values: HostArray): Tensor =>
    new ort.Tensor(dtype, values as Float32Array, shape)

  const slot = (name: string): Slot => {
    const found = slots.get(name)
    if (found === undefined) throw new ModelError({ code: 'ARRAY_MISSING', name })
    return found
  }

  return {
    name: 'onnx',
    device: options.device,

    place(name, tensor, { storage } = {}) {
      slots.delete(scaleName(name))
      const { shape } = tensor
      const stored = storage && store(tensor.values as Float32Array, shape.at(-1)!, storage)
      if (stored === undefined) {
        slots.set(name, { current: tensorOf(tensor, tensor.values), spare: undefined })
        return
      }
      const current = new ort.Tensor(stored.type, stored.data as Uint16Array, shape)
      slots.set(name, { current, spare: undefined, storage })
      if (stored.type === 'int8') {
        const scale = new ort.Tensor('float32', stored.scale, [stored.scale.length])
        slots.set(scaleName(name), { current: scale, spare: undefined })
      }
    },

    read(name) {
      const { current, storage } = slot(name)
      if (storage === undefined) return Promise.resolve(Float32Array.from(current.data as Float32Array))
      const stored =
        storage.type === 'float16'
          ? { ...storage, data: current.data as Uint16Array }
          : {
              ...storage,
              data: current.data as Int8Array,
              scale: slot(scaleName(name)).current.data as Float32Array,
            }
      return Promise.resolve(restore(stored, current.dims.at(-1)!))
    },

    remove(name) {
      slots.delete(name)
      slots.delete(scaleName(name))
    },

    async compile(step) {
      const inputs: Record<string, InputSpec> = { ...step.inputs }
      for (const name of step.reads) {
        const { current, storage } = slot(name)
        const dtype = storage === undefined ? (current.type as TensorSpec['dtype']) : 'float32'
        inputs[name] = { shape: current.dims, dtype, storage }
      }
      const model = lower(step.name, simplify(record(step.name, inputs, (tensors) => step.build(tensors))))
      const session = await ort.InferenceSession.create(model.bytes, {
        executionProviders: ['cpu'],
        // The graph is already as small as we can make it, and rewriting it takes memory (weights are inputs).
        graphOptimizationLevel: 'disabled',
        // An arena and a memory plan of each session's own: 2.3 times the memory of a peer for no speed (decision 003).
        enableCpuMemArena: parametersOf(inputs) >= ARENA_PARAMETERS,
        enableMemPattern: false,
        intraOpNumThreads: options.threads ?? 1,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        // A spinning thread is a core that another peer on this machine cannot use.
        extra: { session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } } },
      })
      const program = replay(session, model.inputs, model.outputs, step, slot, tensorOf, programs)
      programs.add(program)
      return program
    },

    memoryBytes() {
      let bytes = 0
      for (const { current, spare } of slots.values()) {
        bytes += (current.data as Float32Array).byteLength
        if (spare !== undefined) bytes += (spare.data as Float32Array).byteLength
      }
      return bytes
    },

    dispose() {
      for (const program of [...programs]) program.dispose()
      slots.clear()
    },
  }
}

/**
 * With tensors of tens of megabytes malloc keeps far more than is alive: a gpt2-shaped step peaked at 3.9 GB without the
 * arena and 1.6 GB with it (decision 004).
 */
const ARENA_PARAMETERS = 32 << 20

const parametersOf = (inputs: Readonly<Record<string, InputSpec>>): number =>
  Object.values(inputs).reduce((sum, { shape }) => sum + sizeOf(shape), 0)

function replay(
  session: InferenceSession,
  inputs: readonly string[],
  outputs: readonly string[],
  step: Step,
  slot: (name: string) => Slot,
  tensorOf: (spec: TensorSpec, values: HostArray) => Tensor,
  programs: Set<Program>,
): Program {
  const given = new Set(Object.keys(step.inputs))
  const writes = new Set(step.writes)
  const program: Program = {
    async run(values) {
      const feeds: Record<string, Tensor> = {}
      for (const name of inputs) {
        feeds[inputName(name)] = given.has(name)
          ? tensorOf(step.inputs[name]!, checked(name, step.inputs[name]!, values[name]))
          : slot(name).current
      }
      const fetches: Record<string, Tensor | null> = {}
      for (const name of outputs)
        fetches[publicName(name)] = writes.has(name) ? spareOf(slot(name), tensorOf) : null
      const results = await session.run(feeds, fetches)
      const returned: Record<string, Float32Array> = {}
      for (const name of outputs) {
        if (writes.has(name)) swap(slot(name))
        else returned[name] = Float32Array.from(results[publicName(name)]!.data as Float32Array)
      }
      return returned
    },
    dispose() {
      if (programs.delete(program)) void session.release()
    },
  }
  return program
}

function spareOf(slot: Slot, tensorOf: (spec: TensorSpec, values: HostArray) => Tensor): Tensor {
  const { dims, type } = slot.current
  slot.spare ??= tensorOf({ shape: dims, dtype: type as TensorSpec['dtype'] }, new Float32Array(sizeOf(dims)))
  return slot.spare
}

function swap(slot: Slot): void {
  const { current, spare } = slot
  slot.current = spare!
  slot.spare = current
}
