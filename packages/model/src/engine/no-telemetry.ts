import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads'
import { ModelError } from '../errors.ts'
import type { EngineName } from './engine.ts'

const SWITCH = 'ORT_DISABLE_TELEMETRY'
// eslint-disable-next-line no-restricted-properties -- the library has no other switch
const environment = process.env

/**
 * ONNX Runtime's native library, since 1.29 and but on Windows, tells its maker over the network of the process, its models and
 * what it ran on, under an id that it keeps in the user's home. It does not if this variable is in the environment of the process
 * before it makes its first session. A thread has only a copy of the environment: the main thread calls this before it starts one
 * that computes.
 * @throws ModelError `ENGINE_UNAVAILABLE` in a thread that was started before the main thread called it
 */
export function forbidTelemetry(engine: EngineName = 'onnx'): void {
  if (isMainThread) {
    environment[SWITCH] = '1'
    setEnvironmentData(SWITCH, true)
  } else if (getEnvironmentData(SWITCH) !== true) {
    const reason =
      'it would report to its maker: the main thread has to call forbidTelemetry() before it starts this one'
    throw new ModelError({ code: 'ENGINE_UNAVAILABLE', engine, reason })
  }
}
