import type { Engine, Step } from '@comigs/model'
import { describe, expect, it } from 'vitest'
import { createTurns, type Work } from '../src/training/turns.ts'

/** An engine whose every run takes as long as its one input says, on a clock of its own. */
function timed() {
  let time = 0
  const ran: { readonly who: string; readonly at: number }[] = []
  const engine: Engine = {
    name: 'cpu',
    device: 'a clock',
    place: () => undefined,
    read: async () => new Float32Array(),
    remove: () => undefined,
    compile: async (step) => ({
      run: async ({ takes }) => {
        ran.push({ who: step.name, at: time })
        time += takes![0]!
        if (takes![0]! < 0) throw new Error('this run fails')
        return {}
      },
      dispose: () => undefined,
    }),
    memoryBytes: () => 0,
    dispose: () => undefined,
  }
  const turns = createTurns(() => time)
  /** Runs one after the other, as a loop of steps does. @returns when each was done */
  const loop = async (work: Work, who: string, takes: number, times: number): Promise<number[]> => {
    const step: Step = { name: who, reads: [], writes: [], inputs: {}, build: () => ({}) }
    const program = await turns.share(engine, work).compile(step)
    const done: number[] = []
    for (let i = 0; i < times; i++) {
      await program.run({ takes: Float32Array.of(takes) })
      done.push(time)
    }
    return done
  }
  return { loop, ran, now: () => time }
}

const timeOf = (ran: readonly { who: string }[], who: string, takes: number) =>
  takes * ran.filter((one) => one.who === who).length

describe('turns', () => {
  it('cost nothing when nobody else asks', async () => {
    const { loop, now } = timed()
    await loop('training', 'step', 100, 5)
    await loop('text', 'token', 1, 7)
    expect(now()).toBe(507)
  })

  it('give each half of the time, however long a run takes', async () => {
    const { loop, ran } = timed()
    await Promise.all([loop('training', 'step', 100, 10), loop('text', 'token', 1, 1000)])
    for (let from = 0; from + 400 <= 2000; from += 200) {
      const window = ran.filter(({ at }) => at >= from && at < from + 400)
      expect(timeOf(window, 'token', 1)).toBeGreaterThanOrEqual(100)
      expect(timeOf(window, 'step', 100)).toBeGreaterThanOrEqual(100)
    }
  })

  it('hold nobody up once the other is done', async () => {
    const { loop } = timed()
    const [steps] = await Promise.all([loop('training', 'step', 100, 10), loop('text', 'token', 1, 50)])
    expect(steps.at(-1)).toBe(1050)
  })

  it('save nothing up while idle', async () => {
    const { loop, ran } = timed()
    await loop('training', 'step', 100, 20)
    const since = ran.length
    await Promise.all([loop('training', 'late step', 100, 5), loop('text', 'token', 1, 500)])
    // Text that comes late has no claim to the 2,000 that it did not use: a step follows within one step's time.
    const tokensBefore = ran.slice(since).findIndex(({ who }) => who === 'late step')
    expect(tokensBefore).toBeLessThanOrEqual(100)
    const second = ran.filter(({ who }) => who === 'late step')[1]!
    expect(second.at - 2000).toBeLessThanOrEqual(300)
  })

  it('go round among texts', async () => {
    const { loop, ran } = timed()
    await Promise.all(['a', 'b', 'c'].map((who) => loop('text', who, 1, 4)))
    expect(ran.map(({ who }) => who).join('')).toBe('abcabcabcabc')
  })

  it('go on after a run that failed, and tell whoever asked', async () => {
    const { loop, now } = timed()
    const failing = loop('text', 'bad', -1, 1)
    await expect(failing).rejects.toThrow('this run fails')
    await loop('training', 'step', 10, 2)
    expect(now()).toBe(19)
  })
})
