import type { Clock } from '../../src/wire.ts'

interface Sleeper {
  readonly until: number
  wake(): void
}

/** Resolves when everything has happened that can happen without time passing. */
export async function settle(): Promise<void> {
  // Promises run dry before an immediate comes; the second is for what an immediate of a library set off.
  for (let turn = 0; turn < 2; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
}

/** Time that stands still until a test moves it. */
export class VirtualClock implements Clock {
  #now: number
  readonly #sleepers = new Set<Sleeper>()

  constructor(now = Date.UTC(2026, 0, 1)) {
    this.#now = now
  }

  now(): number {
    return this.#now
  }

  /** How many wait for time to pass. */
  get sleeping(): number {
    return this.#sleepers.size
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve()
        return
      }
      const wake = () => {
        this.#sleepers.delete(sleeper)
        signal?.removeEventListener('abort', wake)
        resolve()
      }
      const sleeper: Sleeper = { until: this.#now + Math.max(0, ms), wake }
      this.#sleepers.add(sleeper)
      signal?.addEventListener('abort', wake)
    })
  }

  /** Sleepers wake in the order of their times; what one sets off has happened before the next wakes. */
  async advance(ms: number): Promise<void> {
    const target = this.#now + ms
    await settle()
    for (let next = this.#next(); next !== undefined && next.until <= target; next = this.#next()) {
      this.#now = next.until
      next.wake()
      await settle()
    }
    this.#now = target
  }

  /**
   * Moves time on, and only as far as needed, until the promise settles.
   * @throws when it cannot settle any more, or not within `maxMs` of this clock
   */
  async run<T>(promise: Promise<T>, maxMs = 3_600_000): Promise<T> {
    let settled = false
    const mark = () => {
      settled = true
    }
    promise.then(mark, mark)
    const deadline = this.#now + maxMs
    await settle()
    while (!settled) {
      const next = this.#next()
      if (next === undefined) throw new Error('it waits for something that will never happen')
      if (next.until > deadline) throw new Error(`it is not done after ${maxMs} ms`)
      await this.advance(next.until - this.#now)
    }
    return promise
  }

  #next(): Sleeper | undefined {
    let first: Sleeper | undefined
    for (const sleeper of this.#sleepers)
      if (first === undefined || sleeper.until < first.until) first = sleeper
    return first
  }
}
