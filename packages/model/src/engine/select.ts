import * as tf from '@tensorflow/tfjs-core'
import { ModelError } from '../errors.ts'
import { createEagerEngine } from './eager-engine.ts'
import type { Engine, EngineName } from './engine.ts'
import { createOnnxEngine, type OrtLibrary } from './onnx-engine.ts'

export interface EngineOptions {
  /** `auto` takes the first that loads, in the order of ENGINES. */
  readonly engine: EngineName | 'auto'
  /** Threads of one operator, where the engine can be told. @default 1 */
  readonly threads?: number | undefined
}

export interface SelectedEngine {
  readonly engine: Engine
  /** Why this one, in words. */
  readonly reason: string
}

/** In order of preference. `cpu` is the oracle of the tests: hundreds of times slower, never chosen by itself. */
export const ENGINES: readonly EngineName[] = ['onnx', 'tensorflow', 'cpu']

/**
 * Loads an engine.
 * @throws ModelError `ENGINE_UNAVAILABLE` with what is missing
 */
export async function selectEngine({ engine, threads = 1 }: EngineOptions): Promise<SelectedEngine> {
  tf.enableProdMode()
  if (engine !== 'auto')
    return { engine: await LOADERS[engine](threads), reason: `asked for with --engine ${engine}` }
  const failures: string[] = []
  for (const name of ['onnx', 'tensorflow'] as const) {
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
  onnx: loadOnnx,
  tensorflow: loadTensorflow,
  cpu: loadCpu,
}

async function loadOnnx(threads: number): Promise<Engine> {
  const name = 'onnxruntime-node'
  const ort = await optionalImport('onnx', name)
  const version = (ort['env'] as { versions?: { node?: string } } | undefined)?.versions?.node ?? ''
  const device = `ONNX Runtime ${version} on the CPU, ${threads} thread${threads === 1 ? '' : 's'}`
  return createOnnxEngine(ort as unknown as OrtLibrary, { threads, device })
}

async function loadTensorflow(): Promise<Engine> {
  // tfjs-node 4.22 calls this function, which Node 23 removed.
  const util = (await import('node:util')) as unknown as Record<string, unknown>
  util['isNullOrUndefined'] ??= (value: unknown) => value === null || value === undefined
  const failures: string[] = []
  for (const name of ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node']) {
    try {
      await optionalImport('tensorflow', name)
      return createEagerEngine('tensorflow', 'tensorflow', `libtensorflow through ${name}`)
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error))
    }
  }
  throw new ModelError({ code: 'ENGINE_UNAVAILABLE', engine: 'tensorflow', reason: failures.join('; ') })
}

async function loadCpu(): Promise<Engine> {
  await import('@tensorflow/tfjs-backend-cpu')
  return createEagerEngine('cpu', 'cpu', 'plain JavaScript')
}

async function optionalImport(engine: EngineName, name: string): Promise<Record<string, unknown>> {
  try {
    const module = (await import(name)) as { default?: Record<string, unknown> }
    return module.default ?? module
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0]! : String(error)
    throw new ModelError(
      { code: 'ENGINE_UNAVAILABLE', engine, reason: `${name} does not load: ${reason}` },
      { cause: error },
    )
  }
}
