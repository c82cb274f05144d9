import * as tf from '@tensorflow/tfjs-core'
import util from 'node:util'
import { ModelError } from '../errors.ts'
import { createEagerEngine } from './eager-engine.ts'
import { AUTO_ENGINES, type Engine, type EngineName } from './engine.ts'
import { createOnnxEngine } from './onnx-engine.ts'
import { onnxCpu, onnxWasm, onnxWebgpu } from './onnx/runtimes.ts'
import { optionalImport } from './optional-import.ts'
import { probe } from './probe.ts'

export interface EngineOptions {
  /** `auto` takes the first of AUTO_ENGINES that loads. */
  readonly engine: EngineName | 'auto'
  /** Threads of one operator, where the engine can be told. @default 1 */
  readonly threads?: number | undefined
}

export interface SelectedEngine {
  readonly engine: Engine
  /** Why this one, in words. */
  readonly reason: string
}

/**
 * Loads an engine.
 * @throws ModelError `ENGINE_UNAVAILABLE` with what is missing
 */
export async function selectEngine({ engine, threads = 1 }: EngineOptions): Promise<SelectedEngine> {
  tf.enableProdMode()
  if (engine !== 'auto')
    return { engine: await LOADERS[engine](threads), reason: `asked for with --engine ${engine}` }
  const failures: string[] = []
  for (const name of AUTO_ENGINES) {
    try {
      const loaded = await LOADERS[name](threads)
      const reason =
        failures.length === 0 ? 'the fastest here' : `the best that loads (${failures.join('; ')})`
      return { engine: loaded, reason }
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error))
    }
  }
  throw new ModelError({ code: 'ENGINE_UNAVAILABLE', engine: 'auto', reason: failures.join('; ') })
}

const LOADERS: Readonly<Record<EngineName, (threads: number) => Promise<Engine>>> = {
  onnx: async (threads) => createOnnxEngine(await onnxCpu(threads)),
  tensorflow: loadTensorflow,
  'onnx-wasm': async (threads) => createOnnxEngine(await onnxWasm(threads)),
  'onnx-webgpu': loadWebgpu,
  cpu: loadCpu,
}

async function loadWebgpu(): Promise<Engine> {
  const engine = createOnnxEngine(await onnxWebgpu())
  const reason = await probe(engine)
  if (reason === undefined) return engine
  engine.dispose()
  throw new ModelError({ code: 'ENGINE_UNAVAILABLE', engine: 'onnx-webgpu', reason })
}

/** Neither is a dependency: their install scripts download libtensorflow. */
const TFJS_NODE = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node']

async function loadTensorflow(): Promise<Engine> {
  // tfjs-node 4.22 calls this function, which Node 23 removed. Of the object that `require` gives; a namespace is frozen.
  const mended = util as unknown as Record<string, unknown>
  mended['isNullOrUndefined'] ??= (value: unknown) => value === null || value === undefined
  const failures: string[] = []
  for (const name of TFJS_NODE) {
    try {
      await optionalImport('tensorflow', name)
      const backend = tf.findBackend('tensorflow') as { isUsingGpuDevice?: boolean } | null
      if (backend === null)
        throw new Error(`${name} brings a tfjs-core of its own; install version 4.22.0 of it`)
      const where = backend.isUsingGpuDevice === true ? 'a GPU' : 'the CPU'
      return createEagerEngine('tensorflow', 'tensorflow', `libtensorflow on ${where}, through ${name}`)
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error))
    }
  }
  const cure = `npm install ${TFJS_NODE[0]}@4.22.0 (or ${TFJS_NODE[1]}), and allow its install script`
  const reason = `${failures.join('; ')}; to get it: ${cure}`
  throw new ModelError({ code: 'ENGINE_UNAVAILABLE', engine: 'tensorflow', reason })
}

async function loadCpu(): Promise<Engine> {
  await import('@tensorflow/tfjs-backend-cpu')
  return createEagerEngine('cpu', 'cpu', 'plain JavaScript')
}
