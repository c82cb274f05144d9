import { EXIT } from '../errors.ts'

/**
 * Aborts on ctrl-C or SIGTERM, so that everything can be put away. A second one ends the process at once.
 */
export function stopSignal(): AbortSignal {
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(EXIT.interrupted)
      stop.abort()
    })
  }
  return stop.signal
}
