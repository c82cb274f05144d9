import type { GeneratedToken } from '@comigs/model'
import * as Comlink from 'comlink'
import { Readable } from 'node:stream'
import type { GenerateRequest } from '../training/training-host.ts'
import type { Training } from '../training/training-worker.ts'

let nextId = 0

/** The worker writes, `onToken` hears of every token; resolves when it has heard of all. Ends early when aborted. */
export async function writeText(
  training: Training,
  request: GenerateRequest,
  onToken: (token: GeneratedToken) => void,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted) return
  const id = nextId++
  const cancel = () => void training.cancel(id)
  signal.addEventListener('abort', cancel)
  try {
    await training.generate(id, request, Comlink.proxy(onToken))
  } finally {
    signal.removeEventListener('abort', cancel)
  }
}

/** Whatever pushes, as something to be pulled; leaving the loop aborts what pushes. */
export function pulled<T>(
  push: (take: (item: T) => void, signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): AsyncIterable<T> {
  const left = new AbortController()
  // A Readable is Node's own queue between the two; bounded here by the length of a text.
  const items = new Readable({
    objectMode: true,
    read: () => undefined,
    destroy: (error, done) => {
      left.abort()
      done(error)
    },
  })
  push((item) => void items.push(item), AbortSignal.any([signal, left.signal])).then(
    () => items.push(null),
    (error: unknown) => items.destroy(error as Error),
  )
  return items
}
