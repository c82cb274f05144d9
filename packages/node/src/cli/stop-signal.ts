/** A terminal, npm and a parent process pass on the same ctrl-C, each for itself. */
const SAME_STOP_MS = 1000

/**
 * Aborts on ctrl-C or SIGTERM, so that everything can be put away. A second one ends the process at once, and does what the
 * signal does to who does not listen: `process.exit` would take the engine away under a thread that computes, and crash.
 * @param onStop - called before it aborts
 */
export function stopSignal(onStop?: () => void): AbortSignal {
  const stop = new AbortController()
  let stoppedAt = 0
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (!stop.signal.aborted) {
        stoppedAt = performance.now()
        onStop?.()
      } else if (performance.now() - stoppedAt > SAME_STOP_MS) {
        process.removeAllListeners(name)
        process.kill(process.pid, name)
      }
      stop.abort()
    })
  }
  return stop.signal
}
