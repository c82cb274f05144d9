/// <reference path="./comlink-node-adapter.d.ts" />
import { forbidTelemetry } from '@comigs/model/light'
import * as Comlink from 'comlink'
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { NodeError } from '../errors.ts'
import { carryErrorDetails } from './rpc.ts'
import type { TrainingHost } from './training-host.ts'

export type Training = Comlink.Remote<TrainingHost>

export interface TrainingWorker {
  readonly training: Training
  /** Rejects when the worker dies; never resolves. */
  readonly died: Promise<never>
  stop(): Promise<void>
}

/** Of the young generation, which would grow to 32 MB while the worker starts, and stay so. Most arrays lie outside. */
const YOUNG_MB = 6

/** For what it computes to come to an end: a step of a large model. */
const GRACE_MS = 20_000

let carried = false

/** Starts the thread that does all the computing. */
export function startTrainingWorker(): TrainingWorker {
  if (!carried) carryErrorDetails()
  carried = true
  // Tests run from source; the compiled worker lies beside this file's compiled form in both cases, and wants none of the
  // module resolution that a test runner asked Node for.
  const compiled = new URL('./worker.js', import.meta.url.replace('/src/training/', '/dist/training/'))
  forbidTelemetry()
  const worker = new Worker(compiled, {
    execArgv: [],
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
  })
  let stopping = false
  const exited = new Promise<void>((resolve) => {
    worker.on('exit', () => {
      resolve()
    })
  })
  const died = new Promise<never>((_, reject) => {
    const report = (reason: string) => {
      if (!stopping) reject(new NodeError({ code: 'WORKER_DIED', reason }))
    }
    worker.on('error', (error) => {
      report(error instanceof Error ? error.message : String(error))
    })
    worker.on('exit', (code) => {
      report(`exit code ${code}`)
    })
  })
  died.catch(() => undefined) // whoever cares awaits it
  const training = Comlink.wrap<TrainingHost>(nodeEndpoint(worker))
  return {
    training,
    died,
    async stop() {
      stopping = true
      void training.end() // is never answered
      await Promise.race([exited, sleep(GRACE_MS, undefined, { ref: false })])
      await worker.terminate()
    },
  }
}

/** Runs something that needs a worker for as long as it runs. @throws NodeError `WORKER_DIED` */
export async function withTrainingWorker<T>(use: (training: Training) => Promise<T>): Promise<T> {
  const worker = startTrainingWorker()
  try {
    return await Promise.race([use(worker.training), worker.died])
  } finally {
    await worker.stop()
  }
}
