import type { MixReport } from '@comigs/protocol'
import { describe, expect, it } from 'vitest'
import { createBenefitGuard } from '../src/benefit-guard.ts'

type Parts = Readonly<Record<string, readonly number[]>>

/** A mixture made of what each neighbour adds. */
function mixture(parts: Parts, muted: ReadonlySet<string> = new Set(), clip = 1): MixReport {
  const heard = Object.entries(parts).filter(([peer]) => !muted.has(peer))
  const sum = (of: readonly (readonly number[])[]) =>
    Float32Array.of(...[0, 1].map((k) => of.reduce((total, part) => total + part[k]!, 0)))
  return {
    increment: sum(heard.map(([, part]) => part)),
    mixedWith: heard.map(([peer]) => ({ peer, ageRounds: 0, weight: 1, clip })),
    leftOut: [...muted].map((peer) => ({ peer, reason: 'muted' as const })),
    contribution: (of) => sum(heard.filter(([peer]) => peer === of).map(([, part]) => part)),
    consensusDistance: undefined,
  }
}

/** Parameters of two numbers; the loss is 2 and the squared distance from (1, 1). */
function trainer(loss = (x: Float32Array) => 2 + (x[0]! - 1) ** 2 + (x[1]! - 1) ** 2) {
  const x = Float32Array.of(1, 1)
  let looks = 0
  return {
    x,
    looks: () => looks,
    addShared: async (increment: Float32Array) => {
      x.forEach((_, k) => (x[k]! += increment[k]!))
    },
    validationLoss: async () => {
      looks++
      return loss(x)
    },
  }
}

describe('the benefit guard', () => {
  it('adds the mixture as it is when nobody does harm', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    expect(await guard.add(mixture({ bob: [0.125, 0], carol: [0, 0.125] }), 1)).toBe(undefined)
    expect(t.x).toEqual(Float32Array.of(1.125, 1.125))
    expect(guard.muted(2).size).toBe(0)
  })

  it('looks at one neighbour a round, twice, and at each in turn', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    const parts = { bob: [0, 0], carol: [0, 0], mallory: [8, 0] }
    const found: (string | undefined)[] = []
    for (let round = 1; round <= 3; round++) {
      found.push(await guard.add(mixture(parts), round))
      t.x.fill(1)
    }
    expect(found).toEqual([undefined, undefined, 'mallory'])
    expect(t.looks()).toBe(6)
  })

  it('takes the part of a harmful neighbour back, and mutes it for twenty rounds', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    expect(await guard.add(mixture({ mallory: [2, 2] }), 5)).toBe('mallory')
    expect(t.x).toEqual(Float32Array.of(1, 1))
    expect([...guard.muted(6)]).toEqual(['mallory'])
    expect([...guard.muted(24)]).toEqual(['mallory'])
    expect(guard.muted(25).size).toBe(0)
  })

  it('lets those who were muted back one by one, each looked at first', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    const parts = { mallory: [2, 2], trudy: [2, 2] }
    expect(await guard.add(mixture({ mallory: [2, 2] }), 1)).toBe('mallory')
    expect(await guard.add(mixture({ trudy: [2, 2] }), 1)).toBe('trudy')
    t.x.fill(1)
    const back: string[][] = []
    for (let round = 21; round <= 23; round++) {
      const muted = guard.muted(round)
      back.push(Object.keys(parts).filter((peer) => !muted.has(peer)))
      await guard.add(mixture(parts, muted), round)
      expect(t.x).toEqual(Float32Array.of(1, 1))
    }
    expect(back).toEqual([['mallory'], ['trudy'], []])
  })

  it('does not let one back whose lie is clipped to less than can be seen', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    await guard.add(mixture({ mallory: [2, 2] }), 1)
    for (const [round, clip, found] of [
      [21, 0.05, 'mallory'],
      [41, 0.5, undefined],
    ] as const) {
      const muted = guard.muted(round)
      expect(await guard.add(mixture({ mallory: [0.01, 0.01] }, muted, clip), round)).toBe(found)
    }
  })

  it('lets a muted one count again that does no harm any more, and goes on to the next while one is away', async () => {
    const guard = createBenefitGuard(trainer())
    await guard.add(mixture({ mallory: [2, 2] }), 1)
    await guard.add(mixture({ trudy: [2, 2] }), 1)
    expect([...guard.muted(21)]).toEqual(['trudy']) // Mallory's turn, but it is not here
    await guard.add(mixture({ bob: [0, 0] }), 21)
    expect([...guard.muted(22)]).toEqual(['mallory'])
    expect(await guard.add(mixture({ bob: [0, 0], trudy: [0.1, 0] }), 22)).toBe(undefined)
    expect([...guard.muted(23)]).toEqual([])
    await guard.add(mixture({ bob: [0, 0], trudy: [0, 0], mallory: [0, 0] }), 23)
    expect([...guard.muted(24)]).toEqual([])
  })

  it.each([
    ['4 % worse', 0.28, undefined],
    ['6 % worse', 0.35, 'german'],
  ])('a neighbour that makes it %s', async (_, step, expected) => {
    const guard = createBenefitGuard(trainer())
    expect(await guard.add(mixture({ german: [step, 0] }), 1)).toBe(expected)
  })

  it('compares with the others mixed in, and not with ourselves alone', async () => {
    // Carol takes us far off; what Bob adds to that is little.
    const guard = createBenefitGuard(trainer())
    expect(await guard.add(mixture({ bob: [0.02, 0], carol: [3, 0] }), 1)).toBe(undefined)
  })

  it.each([NaN, Infinity])('takes a loss that becomes %d for harm', async (broken) => {
    const t = trainer((x) => (x[0]! > 2 ? broken : 2))
    expect(await createBenefitGuard(t).add(mixture({ mallory: [4, 0] }), 1)).toBe('mallory')
    expect(t.x).toEqual(Float32Array.of(1, 1))
  })

  it('adds nothing and looks at nothing without neighbours', async () => {
    const t = trainer()
    expect(await createBenefitGuard(t).add(mixture({}), 1)).toBe(undefined)
    expect([t.x, t.looks()]).toEqual([Float32Array.of(1, 1), 0])
  })
})

describe('what averaging with another cell brings', () => {
  /** Moves (1, 1) so far that the loss of 2 becomes so many times as large. */
  const costing = (cost: number, clip = 1) => ({
    peer: 'outsider',
    increment: Float32Array.of(Math.sqrt(2 * (cost - 1)), 0),
    clip,
  })
  /** Where x is after averages of these costs, one after the other, each from (1, 1). */
  async function kept(...costs: readonly number[]): Promise<boolean[]> {
    const t = trainer()
    const guard = createBenefitGuard(t)
    const moved: boolean[] = []
    for (const cost of costs) {
      await guard.addAveraged(costing(cost))
      moved.push(t.x[0]! > 1.01)
      t.x.fill(1)
    }
    return moved
  }

  it('is added, unless it costs more than 5 %', async () => {
    expect(await kept(1.04, 1.06)).toEqual([true, false])
  })

  it('may cost more where that is usual, so that cells that have gone apart come together', async () => {
    expect(await kept(1.1, 1.1, 1.1, 1.1, 1.19, 1.21)).toEqual([false, false, false, true, true, false])
  })

  it('is as usual as the better quarter: half of the others may lie', async () => {
    expect(await kept(2, 1.02, 2, 1.02, 2, 1.02, 2, 1.02)).toEqual(
      Array.from({ length: 8 }, (_, i) => i % 2 === 1),
    )
  })

  it('never costs more than 25 %, whatever is usual', async () => {
    expect(await kept(1.2, 1.2, 1.2, 1.24, 1.26)).toEqual([false, false, false, true, false])
  })

  it('is refused where the loss is no number any more, and that is not usual', async () => {
    const t = trainer((x) => (x[0]! > 2 ? NaN : 2))
    const guard = createBenefitGuard(t)
    for (let time = 0; time < 5; time++)
      await guard.addAveraged({ peer: 'mallory', increment: Float32Array.of(4, 0), clip: 1 })
    expect(t.x).toEqual(Float32Array.of(1, 1))
  })

  it('is judged as it was before it was clipped', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    await guard.addAveraged(costing(1.09, 0.5)) // four times 9 %
    expect(t.x).toEqual(Float32Array.of(1, 1))
  })
})
