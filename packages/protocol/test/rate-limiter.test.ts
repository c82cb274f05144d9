import { describe, expect, it } from 'vitest'
import { RateLimiter } from '../src/rate-limiter.ts'
import { VirtualClock } from './support/virtual-clock.ts'

const BURST = 4
const INTERVAL_MS = 500

function limiter(maxKeys = 10) {
  const clock = new VirtualClock()
  const limit = new RateLimiter(clock, BURST, INTERVAL_MS, maxKeys)
  /** How many of so many pass at once. */
  const passed = (key: string, attempts: number) =>
    Array.from({ length: attempts }, () => limit.take(key)).filter((pass) => pass).length
  return { clock, limit, passed }
}

describe('RateLimiter', () => {
  it('lets a burst pass, and not one more', () => {
    expect(limiter().passed('a', 100)).toBe(BURST)
  })

  it('counts one that is large for as much as it is, though it may go over', async () => {
    const { clock, limit } = limiter()
    expect(limit.take('a', BURST + 2)).toBe(true)
    await clock.advance(3 * INTERVAL_MS - 1)
    expect(limit.take('a')).toBe(false)
    await clock.advance(1)
    expect(limit.take('a')).toBe(true)
  })

  it('then lets one pass in each interval, to the millisecond', async () => {
    const { clock, passed } = limiter()
    passed('a', 100)
    await clock.advance(INTERVAL_MS - 1)
    expect(passed('a', 100)).toBe(0)
    await clock.advance(1)
    expect(passed('a', 100)).toBe(1)
    await clock.advance(2 * INTERVAL_MS)
    expect(passed('a', 100)).toBe(2)
  })

  it('lets a whole burst pass again after a rest, and never more than that', async () => {
    const { clock, passed } = limiter()
    passed('a', 100)
    await clock.advance(BURST * INTERVAL_MS)
    expect(passed('a', 100)).toBe(BURST)
    await clock.advance(1_000_000)
    expect(passed('a', 100)).toBe(BURST)
  })

  it('takes nothing from those that it refuses', async () => {
    const { clock, passed } = limiter()
    passed('a', BURST)
    for (let i = 0; i < 10; i++) {
      await clock.advance(INTERVAL_MS / 10)
      passed('a', 100)
    }
    // One interval has gone by, in ten steps with a thousand attempts: exactly one passed.
    expect(passed('a', 100)).toBe(0)
    await clock.advance(INTERVAL_MS)
    expect(passed('a', 100)).toBe(1)
  })

  it('lets a steady sender pass for ever', async () => {
    const { clock, limit } = limiter()
    for (let i = 0; i < 100; i++) {
      expect(limit.take('a')).toBe(true)
      await clock.advance(INTERVAL_MS)
    }
  })

  it('counts every key by itself', () => {
    const { passed } = limiter()
    passed('a', 100)
    expect(passed('b', 100)).toBe(BURST)
  })

  it('remembers a bounded number of keys: the one that it has not heard of for longest is forgotten', () => {
    const { limit, passed } = limiter(3)
    for (const key of ['a', 'b', 'c']) passed(key, BURST - 1)
    limit.take('a') // now b is the oldest
    passed('d', 1)
    expect(passed('b', 100)).toBe(BURST) // forgotten, it starts anew, and c has to go
    expect(passed('a', 100)).toBe(0)
  })
})
