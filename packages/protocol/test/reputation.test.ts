import { describe, expect, it } from 'vitest'
import { Reputation } from '../src/reputation.ts'
import { VirtualClock } from './support/virtual-clock.ts'

const MINUTES = 60_000

describe('a reputation', () => {
  it('is 0 for strangers, and stays there for what can happen to anyone', () => {
    const reputation = new Reputation(new VirtualClock())
    for (const reason of ['unreachable', 'refused', 'old', 'full', 'stranger'] as const) {
      for (let i = 0; i < 1000; i++) expect(reputation.blame('bob', reason)).toBe(false)
    }
    expect(reputation.score('bob')).toBe(0)
  })

  it('falls below what gossipsub listens to after two payloads that are no numbers', () => {
    const reputation = new Reputation(new VirtualClock())
    expect(reputation.blame('mallory', 'non-finite')).toBe(false)
    expect(reputation.isCutOff('mallory')).toBe(false)
    expect(reputation.blame('mallory', 'non-finite')).toBe(true)
    expect(reputation.score('mallory')).toBe(-160)
    expect(reputation.isCutOff('mallory')).toBe(true)
    expect(reputation.blame('mallory', 'non-finite')).toBe(false)
    expect(reputation.score('bob')).toBe(0)
  })

  it('is forgiven by half in ten minutes', async () => {
    const clock = new VirtualClock()
    const reputation = new Reputation(clock)
    reputation.blame('mallory', 'hash')
    await clock.advance(10 * MINUTES)
    expect(reputation.score('mallory')).toBe(-20)
    reputation.blame('mallory', 'hash')
    expect(reputation.score('mallory')).toBe(-60)
    await clock.advance(20 * MINUTES)
    expect(reputation.score('mallory')).toBe(-15)
  })

  it('does not suffer from a timeout a minute', async () => {
    const clock = new VirtualClock()
    const reputation = new Reputation(clock)
    for (let i = 0; i < 300; i++) {
      expect(reputation.blame('slow', 'timeout')).toBe(false)
      await clock.advance(MINUTES)
    }
    expect(reputation.score('slow')).toBeGreaterThan(-40)
  })

  it('forgets the oldest offender of more than a thousand', () => {
    const reputation = new Reputation(new VirtualClock())
    reputation.blame('first', 'hash')
    for (let i = 0; i < 1023; i++) reputation.blame(`peer-${i}`, 'hash')
    expect(reputation.score('first')).toBe(-40)
    reputation.blame('one more', 'hash')
    expect(reputation.score('peer-0')).toBe(-40)
    expect(reputation.score('first')).toBe(0)
  })
})
