import { median } from './median.ts'
import type { Clock } from './wire.ts'

/** Lags that the estimate remembers; enough for a cell's few rounds, short enough to follow a change. */
const REMEMBERED = 48
/** Before anything was learnt: long enough for a pull on a slow link. */
const FIRST_DEADLINE_MS = 2000
/** How many deviations beyond the median still count as usual. */
const DEVIATIONS = 3
const SLACK_MS = 50

/**
 * Learns how long after our own publication the neighbours' deltas usually arrive, so that waiting for them needs no
 * fixed timeout: deadline = median + 3 · MAD of the lags seen.
 */
export class Patience {
  readonly #clock: Clock
  readonly #lags: number[] = []
  readonly #arrived = new Set<string>()
  /** When those arrived who came between two rounds: too late for one, or early for the next. */
  #between: number[] = []
  #closed = true
  #publishedAt: number | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** We published: from now on arrivals belong to the new round. Those who were ahead of us have lag 0. */
  published(): void {
    const now = this.#clock.now()
    const before = this.#publishedAt
    if (before !== undefined)
      for (const at of this.#between) this.#note(at - before < now - at ? at - before : 0)
    this.#between = []
    this.#publishedAt = now
    this.#closed = false
  }

  arrived(peer: string): void {
    this.#arrived.add(peer)
    const now = this.#clock.now()
    if (this.#closed) this.#between = [...this.#between, now].slice(-REMEMBERED)
    else this.#note(now - this.#publishedAt!)
  }

  /** Since the last time that a round was closed. */
  hasArrived(peer: string): boolean {
    return this.#arrived.has(peer)
  }

  /** The round's mixture is made: everything that comes now is for the next. */
  close(): void {
    this.#arrived.clear()
    this.#closed = true
  }

  deadlineMs(): number {
    if (this.#lags.length === 0) return FIRST_DEADLINE_MS
    const centre = median(this.#lags)
    const deviation = median(this.#lags.map((lag) => Math.abs(lag - centre)))
    return centre + DEVIATIONS * deviation + SLACK_MS
  }

  #note(lag: number): void {
    this.#lags.push(lag)
    if (this.#lags.length > REMEMBERED) this.#lags.shift()
  }
}
