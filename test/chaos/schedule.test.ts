import { describe, expect, it } from 'vitest'
import { seeded } from '../../packages/protocol/test/support/random.ts'
import { schedule } from './schedule.ts'
import { stallMs } from './weather.ts'

const PEERS = ['ada', 'ben', 'cleo', 'dan', 'eve']
const SEEDS = Array.from({ length: 50 }, (_, i) => i)

describe('the schedule', () => {
  it('is that of its seed', () => {
    expect(schedule(PEERS, 300, seeded(7))).toEqual(schedule(PEERS, 300, seeded(7)))
    expect(schedule(PEERS, 300, seeded(7))).not.toEqual(schedule(PEERS, 300, seeded(8)))
  })

  it('has every kind of fault within two minutes, and all are over at the end', () => {
    for (const seed of SEEDS) {
      const faults = schedule(PEERS, 120, seeded(seed))
      const kinds = new Set(faults.map(({ fault }) => fault.kind))
      expect([...kinds].sort()).toEqual(['kill', 'partition', 'pause', 'reset', 'silence'])
      for (const { atSeconds, fault } of faults) expect(atSeconds + fault.seconds).toBeLessThanOrEqual(120)
    }
  })

  it('kills nobody who is dead or stands still, and two never', () => {
    for (const seed of SEEDS) {
      const freeFrom = new Map<string, number>()
      for (const { atSeconds, fault } of schedule(PEERS, 600, seeded(seed))) {
        const who = fault.kind === 'partition' ? 'partition' : fault.peer
        expect(fault.kind === 'kill' && ['ada', 'ben'].includes(who)).toBe(false)
        expect(freeFrom.get(who) ?? 0).toBeLessThanOrEqual(atSeconds)
        freeFrom.set(who, atSeconds + fault.seconds)
      }
    }
  })

  it('divides everyone into two groups that are not empty', () => {
    for (const { fault } of SEEDS.flatMap((seed) => schedule(PEERS, 120, seeded(seed)))) {
      const groups = fault.kind === 'partition' ? fault.groups : [PEERS, ['']]
      expect(groups).toHaveLength(2)
      expect(Math.min(...groups.map(({ length }) => length))).toBeGreaterThan(0)
      expect(fault.kind === 'partition' ? groups.flat().sort() : PEERS).toEqual(PEERS)
    }
  })
})

describe('loss', () => {
  const storm = { delayMs: 200, loss: 0.1 }

  it('costs nothing where nothing is lost', () => {
    expect(stallMs(1e6, { delayMs: 200, loss: 0 }, seeded(1))).toBe(0)
    expect(stallMs(0, storm, seeded(1))).toBe(0)
  })

  it('costs a timeout for the first time, twice as much for the second', () => {
    const lost = (times: number) => {
      let left = times
      return () => (left-- > 0 ? 0 : 1)
    }
    expect(stallMs(100, storm, lost(1))).toBe(600)
    expect(stallMs(100, storm, lost(2))).toBe(600 + 1200)
  })

  it('lets about as much through as it does of TCP', () => {
    // The rule of Mathis et al.: 1448 B / 400 ms * 1.22 / sqrt(0.1) = 14 kB/s.
    const bytes = 10e6
    const rate = bytes / (stallMs(bytes, storm, seeded(3)) / 1000)
    expect(rate).toBeGreaterThan(7_000)
    expect(rate).toBeLessThan(28_000)
  })
})
