import type { OnnxRuntime, OrtLibrary } from '../onnx-engine.ts'
import { forbidTelemetry } from '../no-telemetry.ts'
import { optionalImport } from '../optional-import.ts'
import { CPU_DIALECT, type Dialect } from './builder.ts'

/** An arena and a memory plan of each session's own: 2.3 times the memory of a peer for no speed (decision 003). */
const WITHOUT_ARENA = { enableCpuMemArena: false, enableMemPattern: false }

/** ONNX Runtime's native library: linux with glibc, Windows, macOS on arm64. */
export async function onnxCpu(threads: number): Promise<OnnxRuntime> {
  const ort = await native('onnx')
  return {
    name: 'onnx',
    device: `ONNX Runtime ${version(ort, 'node')} on the CPU, ${inThreads(threads)}`,
    ort,
    session: ({ isLarge }) => ({
      executionProviders: ['cpu'],
      ...WITHOUT_ARENA,
      // With tensors of tens of megabytes malloc keeps far more than is alive: a gpt2-shaped step peaked at 3.9 GB without
      // an arena and 1.6 GB with it (decision 007).
      enableCpuMemArena: isLarge,
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      // With more threads than one, they look for the next operator for a moment before they sleep: a step is 1.04 (demo)
      // to 1.11 times (small) as fast. `force_spinning_stop` makes it slower than either. What is masked in a softmax comes
      // out below float32's normal range. Intel's CPUs take five to seven times as long with such numbers, so they count as
      // zero: in the threads that sessions start, and in the thread that makes the first session of the process, for JavaScript
      // there, too. A peer's is the training worker, which never adds copies of y.
      extra: {
        session: {
          set_denormal_as_zero: '1',
          intra_op: { allow_spinning: '1' },
          inter_op: { allow_spinning: '0' },
        },
      },
    }),
    dialect: CPU_DIALECT,
    writes: 'twin',
  }
}

/** ONNX Runtime in WebAssembly: where no native library loads. Arrays are copied to its heap and back with each run. */
export async function onnxWasm(threads: number): Promise<OnnxRuntime> {
  const ort = (await optionalImport('onnx-wasm', 'onnxruntime-web')) as unknown as WebLibrary
  // Of the library, not of a session, and fixed when it is first used.
  ort.env.wasm.numThreads = threads
  return {
    name: 'onnx-wasm',
    device: `ONNX Runtime ${version(ort, 'web')} in WebAssembly, ${inThreads(threads)}`,
    ort,
    session: () => ({ executionProviders: ['wasm'], ...WITHOUT_ARENA }),
    dialect: CPU_DIALECT,
    writes: 'fresh', // it does not write into the arrays that it is handed (1.30)
  }
}

/** ONNX Runtime's WebGPU provider: part of the native library, needs no CUDA. */
export async function onnxWebgpu(): Promise<OnnxRuntime> {
  const ort = await native('onnx-webgpu')
  return {
    name: 'onnx-webgpu',
    device: `ONNX Runtime ${version(ort, 'node')} on WebGPU`,
    ort,
    // It warns of every graph of which a node runs on the CPU: shapes always do.
    session: () => ({ executionProviders: ['webgpu'], logSeverityLevel: 3 }),
    dialect: WEBGPU_DIALECT,
    writes: 'device',
  }
}

/**
 * It would leave FusedMatMul and LogSoftmax to the CPU, silently. Of Split every output is a storage buffer, of which
 * WebGPU allows a shader 8, one for what is split. Size is computed on the CPU, float16 is an option of WebGPU, and int8 it
 * has not; on Llama's operators there was nothing to try it with.
 */
export const WEBGPU_DIALECT: Dialect = {
  fusedMatMul: false,
  logSoftmax: false,
  llama: false,
  splitOutputs: 7,
  size: false,
  storage: false,
}

interface WebLibrary extends OrtLibrary {
  readonly env: { readonly wasm: { numThreads?: number } }
}

async function native(engine: 'onnx' | 'onnx-webgpu'): Promise<OrtLibrary> {
  forbidTelemetry(engine)
  return (await optionalImport(engine, 'onnxruntime-node')) as unknown as OrtLibrary
}

function version(ort: OrtLibrary, build: 'node' | 'web'): string {
  const { env } = ort as { env?: { versions?: Partial<Record<typeof build, string>> } }
  return env?.versions?.[build] ?? '(unknown version)'
}

const inThreads = (threads: number): string => (threads === 1 ? '1 thread' : `${threads} threads`)
