import type { InferenceSession, Tensor } from 'onnxruntime-common'
import { ModelError } from '../errors.ts'
import type { Engine, EngineName, Program, Step } from './engine.ts'
import { checked } from './inputs.ts'
import { type Graph, type HostArray, type InputSpec, scaleName, sizeOf, type TensorSpec } from './graph.ts'
import type { Dialect } from './onnx/builder.ts'
import { createCarrier, type Carrier } from './onnx/carrier.ts'
import { inputName, lower, type OnnxModel, publicName } from './onnx/lower.ts'
import { simplify } from './passes.ts'
import { peakBytes } from './peak.ts'
import { record } from './recorder.ts'
import { restore, type Storage, store, type Stored } from './storage.ts'

/** What this engine needs of onnxruntime-node or onnxruntime-web. */
export interface OrtLibrary {
  readonly InferenceSession: typeof InferenceSession
  readonly Tensor: typeof Tensor
}

/** One way to run graphs: a library, and how to ask it. */
export interface OnnxRuntime {
  readonly name: EngineName
  /** In words. */
  readonly device: string
  readonly ort: OrtLibrary
  session(step: { readonly isLarge: boolean }): InferenceSession.SessionOptions
  readonly dialect: Dialect
  /**
   * Where the arrays that a step writes go. `twin`: into an array that is handed over with the run and then changes
   * places with the one that was read, nothing is copied. `fresh`: into new arrays. `device`: arrays stay in the memory
   * of the provider, and go there when they are first used.
   */
  readonly writes: 'twin' | 'fresh' | 'device'
}

/** An array, and its twin where a program reads one and writes the other. */
interface Slot {
  current: Tensor
  spare: Tensor | undefined
  /** How a frozen matrix is kept; the scales of int8 are an array of their own. */
  storage?: Storage | undefined
}

/** Runs steps as ONNX graphs, recorded once and replayed by ONNX Runtime. */
export function createOnnxEngine(runtime: OnnxRuntime): Engine {
  const { ort } = runtime
  const slots = new Map<string, Slot>()
  const programs = new Set<Program>()
  const carrier = createCarrier(ort, runtime.session({ isLarge: false }))

  const slot = (name: string): Slot => {
    const found = slots.get(name)
    if (found === undefined) throw new ModelError({ code: 'ARRAY_MISSING', name })
    return found
  }
  // One at a time: what one run replaces, another may be about to read.
  let running: Promise<unknown> = Promise.resolve()
  const inTurn: InTurn = (work) => {
    const result = running.then(work)
    running = result.catch(() => undefined)
    return result
  }
  const shared = turns()
  const drop = (name: string) => {
    for (const key of [name, scaleName(name)]) {
      const dropped = slots.get(key)
      slots.delete(key)
      // Not before the run that may be reading it, or bringing it to the device, is over.
      if (dropped !== undefined) void inTurn(async () => free(dropped.current))
    }
  }

  return {
    name: runtime.name,
    device: runtime.device,

    place(name, tensor, { storage } = {}) {
      drop(name)
      const { shape } = tensor
      const columns = shape.at(-1)!
      const stored = storage && store(tensor.values as Float32Array, columns, storage)
      if (stored === undefined || !runtime.dialect.storage) {
        const values = stored === undefined ? tensor.values : restore(stored, columns)
        slots.set(name, { current: tensorOf(ort, tensor, values), spare: undefined })
        return
      }
      const current = new ort.Tensor(stored.type, stored.data as Uint16Array, shape)
      slots.set(name, { current, spare: undefined, storage })
      if (stored.type === 'int8') {
        const scale = new ort.Tensor('float32', stored.scale, [stored.scale.length])
        slots.set(scaleName(name), { current: scale, spare: undefined })
      }
    },

    read: (name) =>
      inTurn(async () => {
        const { current, storage } = slot(name)
        const here = current.location === 'gpu-buffer' ? await carrier.fromDevice(current) : current
        if (storage === undefined) return Float32Array.from(here.data as Float32Array)
        const stored: Stored =
          storage.type === 'float16'
            ? { ...storage, data: here.data as Uint16Array }
            : {
                ...storage,
                data: here.data as Int8Array,
                scale: slot(scaleName(name)).current.data as Float32Array,
              }
        return restore(stored, here.dims.at(-1)!)
      }),

    remove: drop,

    async compile(step) {
      const inputs: Record<string, InputSpec> = { ...step.inputs }
      for (const name of step.reads) {
        const { current, storage } = slot(name)
        inputs[name] =
          storage === undefined ? specOf(current) : { shape: current.dims, dtype: 'float32', storage }
      }
      const recorded = record(step.name, inputs, (tensors) => step.build(tensors))
      const isLarge = isLargeStep(recorded)
      const graph = simplify(recorded, isLarge)
      const model = lower(step.name, graph, { dialect: runtime.dialect, isLarge })
      const onDevice = runtime.writes === 'device' ? step.writes.map(publicName) : []
      const create = () =>
        ort.InferenceSession.create(model.bytes, {
          ...runtime.session({ isLarge }),
          // The graph is already as small as we can make it, and rewriting it takes memory (weights are inputs).
          graphOptimizationLevel: 'disabled',
          ...(onDevice.length > 0 && { preferredOutputLocation: locations(model.outputs, onDevice) }),
        })
      // On a device the session holds none of that memory, and what it wrote must not outlive it.
      const takesTurns = isLarge && step.isAwaited !== true && runtime.writes !== 'device'
      const session = await inTurn(() => (takesTurns ? shared : turns())(create))
      const program = replay({ runtime, session, model, step, slot, carrier, programs, inTurn })
      programs.add(program)
      return program
    },

    memoryBytes() {
      let bytes = 0
      for (const { current, spare } of slots.values()) {
        bytes += bytesOf(current)
        if (spare !== undefined) bytes += bytesOf(spare)
      }
      return bytes
    },

    dispose() {
      // Arrays first: what is gone needs nobody to take it over from its session.
      for (const name of [...slots.keys()]) drop(name)
      for (const program of [...programs]) program.dispose()
      void inTurn(async () => carrier.dispose())
    },
  }
}

/** A step that reads so many numbers has tensors of tens of megabytes. */
const LARGE_INPUTS = 32 << 20
/** A little more than the demo's shape keeps: beyond it malloc takes three times what is alive, and a third of the time. */
const LARGE_PEAK_BYTES = 144 << 20

/** Whether a step has an arena, and its nodes run in their order (docs/decisions/007). */
export const isLargeStep = (graph: Graph): boolean =>
  graph.inputs.reduce((sum, { shape }) => sum + sizeOf(shape), 0) >= LARGE_INPUTS ||
  peakBytes(graph) >= LARGE_PEAK_BYTES

type InTurn = <T>(work: () => Promise<T>) => Promise<T>

interface HeldSession {
  /** The session, made again where another one took its turn meanwhile. */
  open(): Promise<InferenceSession>
  release(): Promise<void>
}

/**
 * Sessions of which only the last one used is in memory. The arena of a large training step holds most of a gigabyte, that of
 * evaluation a sixth of it; a peer runs many batches of one kind before one of another, and a session is made in half a second.
 */
function turns(): (create: () => Promise<InferenceSession>) => Promise<HeldSession> {
  let present: HeldSession | undefined
  return async (create) => {
    let session: InferenceSession | undefined
    const held: HeldSession = {
      async open() {
        if (present !== held) await present?.release()
        present = held
        return (session ??= await create())
      },
      async release() {
        const released = session
        session = undefined
        await released?.release()
      },
    }
    await held.open()
    return held
  }
}

function replay(parts: {
  runtime: OnnxRuntime
  session: HeldSession
  model: OnnxModel
  step: Step
  slot: (name: string) => Slot
  carrier: Carrier
  programs: Set<Program>
  inTurn: InTurn
}): Program {
  const { runtime, session, model, step, slot, carrier, programs, inTurn } = parts
  const { ort } = runtime
  const given = new Set(Object.keys(step.inputs))
  /** What our session has written, on a device. */
  const owned = new Map<string, Slot>()
  const program: Program = {
    run: (values) => inTurn(() => once(values)),
    dispose() {
      if (!programs.delete(program)) return
      void inTurn(async () => {
        for (const held of owned.values()) await adopt(held, carrier)
        await session.release()
      })
    },
  }
  const once: Program['run'] = async (values) => {
    const feeds: Record<string, Tensor> = {}
    for (const name of model.inputs) {
      if (given.has(name)) {
        const spec = step.inputs[name]!
        feeds[inputName(name)] = tensorOf(ort, spec, checked(name, spec, values[name]))
      } else {
        const held = slot(name)
        if (runtime.writes === 'device' && held.current.location === 'cpu')
          held.current = await carrier.toDevice(held.current)
        feeds[inputName(name)] = held.current
      }
    }
    const fetches: Record<string, Tensor | null> = {}
    // The arrays as they are now: one that is placed meanwhile is not overwritten.
    const written = new Map(step.writes.map((name) => [name, slot(name)]))
    for (const name of model.outputs) {
      const held = runtime.writes === 'twin' ? written.get(name) : undefined
      fetches[publicName(name)] = held === undefined ? null : spareOf(ort, held)
    }
    const results = await (await session.open()).run(feeds, fetches)
    const returned: Record<string, Float32Array> = {}
    for (const name of model.outputs) {
      const result = results[publicName(name)]!
      const held = written.get(name)
      if (held !== undefined) {
        replace(held, result)
        if (runtime.writes === 'device') owned.set(name, held)
      } else returned[name] = Float32Array.from(result.data as Float32Array)
    }
    return returned
  }
  return program
}

/** The new value takes its place; a twin becomes the array that the next run writes into. */
function replace(slot: Slot, result: Tensor): void {
  const { current, spare } = slot
  if (spare === undefined) {
    slot.current = result
    free(current)
  } else {
    slot.current = spare
    slot.spare = current
  }
}

/**
 * A session takes the memory of what it wrote with it: freeing that afterwards brings the process down, on a GPU if not in
 * software (ONNX Runtime 1.30). So what is there still goes over to the carrier, whose sessions last.
 */
async function adopt(slot: Slot, carrier: Carrier): Promise<void> {
  const { current } = slot
  if (current.location !== 'gpu-buffer') return
  slot.current = await carrier.toDevice(current)
  free(current)
}

/**
 * What is left to the garbage collector fills the device meanwhile, and brings the process down when it is collected after
 * the last session is gone (ONNX Runtime 1.30).
 */
function free(tensor: Tensor): void {
  if (tensor.location === 'gpu-buffer') tensor.dispose()
}

function spareOf(ort: OrtLibrary, slot: Slot): Tensor {
  const { dims } = slot.current
  return (slot.spare ??= tensorOf(ort, specOf(slot.current), new Float32Array(sizeOf(dims))))
}

function locations(
  outputs: readonly string[],
  onDevice: readonly string[],
): Record<string, Tensor.DataLocation> {
  const names = outputs.map(publicName)
  return Object.fromEntries(names.map((name) => [name, onDevice.includes(name) ? 'gpu-buffer' : 'cpu']))
}

function tensorOf(ort: OrtLibrary, { dtype, shape }: TensorSpec, values: HostArray): Tensor {
  return new ort.Tensor(dtype, values as Float32Array, shape)
}

function specOf({ dims, type }: Tensor): TensorSpec {
  return { shape: dims, dtype: type as TensorSpec['dtype'] }
}

const WIDTHS: Partial<Record<Tensor.Type, number>> = { bool: 1, int8: 1, float16: 2 }

const bytesOf = ({ dims, type }: Tensor): number => sizeOf(dims) * (WIDTHS[type] ?? 4)
