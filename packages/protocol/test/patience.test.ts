import { describe, expect, it } from 'vitest'
import { Patience } from '../src/patience.ts'
import { VirtualClock } from './support/virtual-clock.ts'

const ROUND_MS = 30_000
const SLACK_MS = 50

/**
 * Rounds in which neighbours' deltas come so long after our publication; negative: before it.
 * @param limitMs - how long a round waits for them at most
 */
async function afterRounds(lagsMs: readonly (readonly number[])[], limitMs = 5000): Promise<Patience> {
  const clock = new VirtualClock()
  const patience = new Patience(clock)
  for (const lags of lagsMs) {
    const start = clock.now()
    const published = start + ROUND_MS / 2
    const events = lags.map((lag, i) => ({
      at: published + lag,
      happen: () => patience.arrived(`peer ${i}`),
    }))
    events.push({ at: published, happen: () => patience.published() })
    events.push({ at: published + limitMs, happen: () => patience.close() })
    for (const { at, happen } of events.sort((a, b) => a.at - b.at)) {
      await clock.advance(at - clock.now())
      happen()
    }
    await clock.advance(start + ROUND_MS - clock.now())
  }
  return patience
}

const repeated = (rounds: number, lags: readonly number[]) => Array.from({ length: rounds }, () => lags)

describe('Patience', () => {
  it('begins with two seconds', () => {
    expect(new Patience(new VirtualClock()).deadlineMs()).toBe(2000)
  })

  it('waits hardly longer than everybody needs who always needs the same', async () => {
    expect((await afterRounds(repeated(5, [300, 300, 300]))).deadlineMs()).toBe(300 + SLACK_MS)
  })

  it('waits three median deviations beyond the median', async () => {
    // Median 400, deviations 300 200 0 200 400: their median is 200.
    expect((await afterRounds([[100, 200, 400, 600, 800]])).deadlineMs()).toBe(400 + 3 * 200 + SLACK_MS)
  })

  it('is not led astray by one straggler', async () => {
    expect((await afterRounds(repeated(5, [300, 310, 320, 4900]))).deadlineMs()).toBeLessThan(500)
  })

  it('learns to wait longer for a swarm that needs longer than the first guess', async () => {
    expect((await afterRounds(repeated(5, [3000, 3100, 3200]))).deadlineMs()).toBeGreaterThan(3200)
  })

  it('learns from those who came too late, too', async () => {
    expect((await afterRounds(repeated(5, [3000, 3100, 3200]), 2000)).deadlineMs()).toBeGreaterThan(3200)
  })

  it('forgets how it used to be', async () => {
    const patience = await afterRounds([...repeated(30, [4000, 4000]), ...repeated(25, [100, 100])])
    expect(patience.deadlineMs()).toBe(100 + SLACK_MS)
  })

  it('need not wait for those who are always ahead of us: their lag is 0', async () => {
    expect((await afterRounds(repeated(10, [-1000, -1000, -1000]))).deadlineMs()).toBeLessThanOrEqual(
      2 * SLACK_MS,
    )
  })

  it('knows who has arrived since the last round was closed', () => {
    const patience = new Patience(new VirtualClock())
    patience.published()
    patience.arrived('a')
    expect([patience.hasArrived('a'), patience.hasArrived('b')]).toEqual([true, false])
    patience.close()
    expect(patience.hasArrived('a')).toBe(false)
  })

  it('counts those who came before our publication as arrived for its round', () => {
    const patience = new Patience(new VirtualClock())
    patience.arrived('a')
    patience.published()
    expect(patience.hasArrived('a')).toBe(true)
  })
})
