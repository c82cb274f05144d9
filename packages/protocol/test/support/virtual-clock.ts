import type { Clock } from '../../src/wire.ts'

interface Sleeper {
  readonly until: number
  /** Of two with the same time, who began first wakes first. */
  readonly order: number
  isAwake: boolean
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
  /** A binary heap; who woke early stays in it for a while. */
  readonly #sleepers: Sleeper[] = []
  #begun = 0
  #asleep = 0

  constructor(now = Date.UTC(2026, 0, 1)) {
    this.#now = now
  }

  now(): number {
    return this.#now
  }

  /** How many wait for time to pass. */
  get sleeping(): number {
    return this.#asleep
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve()
        return
      }
      const wake = () => {
        sleeper.isAwake = true
        this.#asleep--
        signal?.removeEventListener('abort', wake)
        resolve()
      }
      const until = this.#now + Math.max(0, ms)
      const sleeper: Sleeper = { until, order: this.#begun++, isAwake: false, wake }
      this.#asleep++
      if (this.#sleepers.length > 2 * this.#asleep + 64) this.#forgetWoken()
      push(this.#sleepers, sleeper)
      signal?.addEventListener('abort', wake)
    })
  }

  /** Who was woken before its time stays in the heap until then, and where time stands still, for ever. */
  #forgetWoken(): void {
    for (const sleeper of this.#sleepers.splice(0)) if (!sleeper.isAwake) push(this.#sleepers, sleeper)
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
    while (this.#sleepers[0]?.isAwake === true) pop(this.#sleepers)
    return this.#sleepers[0]
  }
}

const isBefore = (a: Sleeper, b: Sleeper): boolean =>
  a.until < b.until || (a.until === b.until && a.order < b.order)

function push(heap: Sleeper[], sleeper: Sleeper): void {
  let at = heap.length
  heap.push(sleeper)
  for (let parent = (at - 1) >> 1; at > 0 && isBefore(sleeper, heap[parent]!); parent = (at - 1) >> 1) {
    heap[at] = heap[parent]!
    heap[parent] = sleeper
    at = parent
  }
}

function pop(heap: Sleeper[]): void {
  const last = heap.pop()!
  if (heap.length === 0) return
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
    if (child >= heap.length || !isBefore(heap[child]!, last)) break
    heap[at] = heap[child]!
    at = child
  }
  heap[at] = last
}
