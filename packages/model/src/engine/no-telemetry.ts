import { isMainThread } from 'node:worker_threads'
import { ModelError } from '../errors.ts'
import type { EngineName } from './engine.ts'

const SWITCH = 'ORT_DISABLE_TELEMETRY'
// eslint-disable-next-line no-restricted-properties -- the library has no other switch
const environment = process.env

/**
 * ONNX Runtime's native library, since 1.29 and but on Windows, tells its maker over the network of the process, its models and
 * what it ran on, under an id that it keeps in the user's home. It does not if this variable is in the environment of the process before
 * it makes its first session. Only the main thread can put it there: it calls this before it starts a thread that computes.
 */
export function forbidTelemetry(): void {
  environment[SWITCH] = '1'
}

/** @throws ModelError `ENGINE_UNAVAILABLE` in a thread that was started before anyone forbade it */
export function requireNoTelemetry(engine: EngineName): void {
  if (isMainThread) forbidTelemetry()
  else if (environment[SWITCH] !== '1')
    throw new ModelError({
      code: 'ENGINE_UNAVAILABLE',
      engine,
      reason:
        'it would report to its maker: call forbidTelemetry() in the main thread before this one is started',
    })
}
