import type * as tf from '@tensorflow/tfjs-core'
import { afterAll, onTestFinished } from 'vitest'
import type { Engine, EngineName, HostTensor, Program, Step } from '../../src/engine/engine.ts'
import type { HostArray } from '../../src/engine/graph.ts'
import { onnxCpu } from '../../src/engine/onnx/runtimes.ts'
import { createOnnxEngine } from '../../src/engine/onnx-engine.ts'
import { selectEngine } from '../../src/engine/select.ts'

/** An engine for all tests of a file (call it outside of them). */
export async function fileEngine(name: EngineName): Promise<Engine> {
  const { engine } = await selectEngine({ engine: name })
  afterAll(() => {
    engine.dispose()
  })
  return engine
}

/** An engine of one test's own. */
export async function freshEngine(name: EngineName): Promise<Engine> {
  const { engine } = await selectEngine({ engine: name })
  onTestFinished(() => {
    engine.dispose()
  })
  return engine
}

/** ONNX Runtime with one thread, and every session that it was asked for. */
export async function countingSessions(): Promise<{
  engine: Engine
  sessions: readonly { readonly isReleased: boolean }[]
}> {
  const runtime = await onnxCpu(1)
  const { InferenceSession, Tensor } = runtime.ort
  const sessions: { isReleased: boolean }[] = []
  const create = async (...args: Parameters<typeof InferenceSession.create>) => {
    const session = await InferenceSession.create(...args)
    const seen = { isReleased: false }
    sessions.push(seen)
    const release = session.release.bind(session)
    session.release = () => {
      seen.isReleased = true
      return release()
    }
    return session
  }
  const engine = createOnnxEngine({ ...runtime, ort: { InferenceSession: { create } as never, Tensor } })
  onTestFinished(() => {
    engine.dispose()
  })
  return { engine, sessions }
}

export type Tensors = Readonly<Record<string, tf.Tensor>>
export type HostTensors = Readonly<Record<string, HostTensor>>
export type Build = (tensors: Tensors) => Record<string, tf.Tensor>

/** A step that is given everything and keeps nothing. */
export const pureStep = (inputs: HostTensors, build: Build): Step => ({
  name: 'test',
  reads: [],
  writes: [],
  inputs,
  build,
})

export const valuesOf = (inputs: HostTensors): Record<string, HostArray> =>
  Object.fromEntries(Object.entries(inputs).map(([name, { values }]) => [name, values]))

export async function runOnce(
  engine: Engine,
  inputs: HostTensors,
  build: Build,
): Promise<Record<string, Float32Array>> {
  const program = await engine.compile(pureStep(inputs, build))
  const results = await program.run(valuesOf(inputs))
  program.dispose()
  return results
}

/** Compiles for the rest of the test. */
export async function compiled(engine: Engine, step: Step): Promise<Program> {
  const program = await engine.compile(step)
  onTestFinished(() => {
    program.dispose()
  })
  return program
}
