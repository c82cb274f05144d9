import { keepLast } from './keep-last.ts'
import { LIMITS } from './limits.ts'
import type { Clock, Wire } from './wire.ts'

/**
 * GCRA, the generic cell rate algorithm (ITU-T I.371): per key, `burst` at once and one more every `intervalMs`. One
 * number a key, and at most `maxKeys` of them.
 */
export class RateLimiter {
  readonly #arrival = new Map<string, number>()
  readonly #clock: Clock
  readonly #toleranceMs: number
  readonly #intervalMs: number
  readonly #maxKeys: number

  constructor(clock: Clock, burst: number, intervalMs: number, maxKeys: number) {
    this.#clock = clock
    this.#intervalMs = intervalMs
    this.#toleranceMs = (burst - 1) * intervalMs
    this.#maxKeys = maxKeys
  }

  /** @returns whether this one may pass; then it counts for as many as it is, also where that is more than are left */
  take(key: string, amount = 1): boolean {
    const now = this.#clock.now()
    const expected = Math.max(this.#arrival.get(key) ?? now, now)
    if (expected - now > this.#toleranceMs) return false
    keepLast(this.#arrival, this.#maxKeys, key, expected + amount * this.#intervalMs)
    return true
  }
}

/** A wire on which a peer that asks too much, over all protocols, is not answered. */
export function limitRequests(
  wire: Wire,
  clock: Clock,
  onExcess: (peer: string, protocol: string) => void,
): Wire {
  const requests = new RateLimiter(clock, LIMITS.requestBurst, LIMITS.requestIntervalMs, 4 * LIMITS.copies)
  return {
    ...wire,
    handle: (protocol, handler) =>
      wire.handle(protocol, async (stream, peer) => {
        if (requests.take(peer)) return handler(stream, peer)
        onExcess(peer, protocol)
        throw new Error('too many requests')
      }),
  }
}
