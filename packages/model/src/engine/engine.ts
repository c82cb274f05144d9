import type * as tf from '@tensorflow/tfjs-core'
import type { HostArray, TensorSpec } from './graph.ts'
import type { Storage } from './storage.ts'

/**
 * `onnx`: ONNX Runtime's own library on the CPU. `tensorflow`: libtensorflow through tfjs-node, where it is installed.
 * `onnx-wasm`: ONNX Runtime in WebAssembly, everywhere. `onnx-webgpu`: ONNX Runtime on a GPU. `cpu`: plain JavaScript,
 * the oracle of the tests.
 */
export const ENGINES = ['onnx', 'tensorflow', 'onnx-wasm', 'onnx-webgpu', 'cpu'] as const

export type EngineName = (typeof ENGINES)[number]

/**
 * What `auto` tries, fastest first. Not `onnx-webgpu`: a GPU in software is slower than the CPU, a small one may be, and a driver
 * that fails takes the process with it (decision 004). Not `cpu`: the oracle of the tests, hundreds of times slower.
 */
export const AUTO_ENGINES: readonly EngineName[] = ['onnx', 'tensorflow', 'onnx-wasm']

/** A tensor in JavaScript's own memory. */
export interface HostTensor extends TensorSpec {
  readonly values: HostArray
}

/** How a float32 matrix that nothing writes may be kept in engine memory, at the price of its last bits. */
export interface PlaceOptions {
  readonly storage?: Storage | undefined
}

/**
 * One step of work as a pure function of named tensors: what it reads from engine memory, what it is given anew each
 * time, what it replaces. Shapes are static and nothing inside may depend on a value; what changes from run to run
 * (learning rate, weights of a loss) is an input.
 */
export interface Step {
  readonly name: string
  /** Arrays in engine memory that the step reads. */
  readonly reads: readonly string[]
  /** Those of `reads` that it replaces: an output of the same name becomes the new array. */
  readonly writes: readonly string[]
  /** Given with each run. */
  readonly inputs: Readonly<Record<string, TensorSpec>>
  /** Whether somebody waits for each run, so that it is kept ready while other steps come and go. @default false */
  readonly isAwaited?: boolean
  /** Written in tfjs operators. Every output but `writes` goes back to the caller of `run`. */
  build(tensors: Readonly<Record<string, tf.Tensor>>): Record<string, tf.Tensor>
}

/** A step made ready to run again and again. */
export interface Program {
  /** @returns a copy of each output that is not in `writes` */
  run(inputs: Readonly<Record<string, HostArray>>): Promise<Record<string, Float32Array>>
  dispose(): void
}

/**
 * Something that computes: named arrays in its own memory, and programs that work on them. Results differ in the last
 * bits between engines; on one engine they are the same every time.
 */
export interface Engine {
  readonly name: EngineName
  /** In words, for logs: the library, its version, threads or device. */
  readonly device: string
  /** Puts an array into engine memory, in place of one of that name. The engine may keep `values` itself. */
  place(name: string, tensor: HostTensor, options?: PlaceOptions): void
  /** @returns a copy, in float32 however it is stored; throws ModelError `ARRAY_MISSING` */
  read(name: string): Promise<Float32Array>
  remove(name: string): void
  compile(step: Step): Promise<Program>
  /** Bytes held in named arrays. */
  memoryBytes(): number
  dispose(): void
}
