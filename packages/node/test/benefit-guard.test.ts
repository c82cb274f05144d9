import type { MixReport } from '@comigs/protocol'
import { describe, expect, it } from 'vitest'
import { createBenefitGuard } from '../src/benefit-guard.ts'

type Parts = Readonly<Record<string, readonly number[]>>

/** A mixture made of what each neighbour adds. */
function mixture(
  parts: Parts,
  muted: ReadonlySet<string> = new Set(),
  { clip = 1, weight = 1, ages = {} }: { clip?: number; weight?: number; ages?: Record<string, number> } = {},
): MixReport {
  const heard = Object.entries(parts).filter(([peer]) => !muted.has(peer))
  const sum = (of: readonly (readonly number[])[]) =>
    Float32Array.of(...[0, 1].map((k) => of.reduce((total, part) => total + part[k]!, 0)))
  return {
    increment: sum(heard.map(([, part]) => part)),
    mixedWith: heard.map(([peer]) => ({ peer, ageRounds: ages[peer] ?? 0, weight, clip })),
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
    expect(await guard.add(mixture({ bob: [0.125, 0], carol: [0, 0.125] }), 1)).toEqual([])
    expect(t.x).toEqual(Float32Array.of(1.125, 1.125))
    expect(guard.muted(2).size).toBe(0)
  })

  it('looks at one neighbour a round, twice, and at each in turn, and where one does harm at the next', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    const parts = { bob: [0, 0], carol: [0, 0], mallory: [8, 0] }
    const found: (readonly string[])[] = []
    for (let round = 1; round <= 3; round++) {
      found.push(await guard.add(mixture(parts), round))
      t.x.fill(1)
    }
    expect(found).toEqual([[], [], ['mallory']])
    expect(t.looks()).toBe(8)
  })

  it('takes liars out together', async () => {
    const t = trainer()
    const parts = { bob: [0, 0], mallory: [2, 2], trudy: [1, 2] }
    const guard = createBenefitGuard(t)
    await guard.add(mixture({ bob: [0, 0] }), 1)
    expect(await guard.add(mixture(parts), 2)).toEqual(['mallory', 'trudy'])
    expect(t.x).toEqual(Float32Array.of(1, 1))
    expect(guard.muted(3)).toEqual(new Set(['trudy'])) // one at a time gets its chance
  })

  it('looks at a neighbour as if we went half way to it, whatever its weight', async () => {
    // At its weight of a tenth it makes the loss 2 % worse, half way half as much again.
    const t = trainer()
    const guard = createBenefitGuard(t)
    expect(await guard.add(mixture({ mallory: [0.2, 0] }, new Set(), { weight: 0.1 }), 1)).toEqual([
      'mallory',
    ])
    expect(t.x).toEqual(Float32Array.of(1, 1))
    expect(await guard.add(mixture({ bob: [0.0625, 0] }, new Set(), { weight: 0.125 }), 2)).toEqual([])
    expect(t.x).toEqual(Float32Array.of(1.0625, 1))
  })

  it('looks between a neighbour and the mixture of the others, so that what we learnt ourselves is still in it', async () => {
    // Ours is the first number, theirs the second. Together we stand at (1/4, 3/4), and less of ours does harm.
    const t = trainer((x) => 2 + 8 * Math.max(0, 0.25 - x[0]!))
    t.x.set([1, 0])
    const theirs = [-0.25, 0.25]
    const parts = { bob: theirs, carol: theirs, dave: theirs }
    expect(await createBenefitGuard(t).add(mixture(parts, new Set(), { weight: 0.25 }), 1)).toEqual([])
    expect(t.x).toEqual(Float32Array.of(0.25, 0.75))
  })

  /** Rounds in which a neighbour was found harmful, where its part is `part(round)`. */
  async function harmfulIn(rounds: number, part: (round: number) => readonly number[]): Promise<number[]> {
    const t = trainer()
    const guard = createBenefitGuard(t)
    const found: number[] = []
    for (let round = 1; round <= rounds; round++) {
      const harmful = await guard.add(mixture({ mallory: part(round) }, guard.muted(round)), round)
      found.push(...harmful.map(() => round))
      t.x.fill(1)
    }
    return found
  }

  it('takes the part of a harmful neighbour back, at first for this round only', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    expect(await guard.add(mixture({ mallory: [2, 2] }), 5)).toEqual(['mallory'])
    expect(t.x).toEqual(Float32Array.of(1, 1))
    expect(guard.muted(6).size).toBe(0)
  })

  it('mutes one that goes on for four rounds, and then for sixteen', async () => {
    expect(await harmfulIn(40, () => [2, 2])).toEqual([1, 2, 6, 22, 38])
  })

  it.each([
    ['forgives one that does harm every fourth time', 4, [1, 5, 9, 13, 17, 21, 25]],
    ['does not forgive one that does harm every second time', 2, [1, 3, 5, 13]],
  ])('%s', async (_, every, expected) => {
    expect(await harmfulIn(28, (round) => (round % every === 1 ? [2, 2] : [0, 0]))).toEqual(expected)
  })

  it('lets those who were muted back one by one, each looked at first', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    const parts = { mallory: [0.5, 0.5], trudy: [0.5, 0.5] }
    const back: string[][] = []
    for (let round = 1; round <= 4; round++) {
      const muted = guard.muted(round)
      back.push(Object.keys(parts).filter((peer) => !muted.has(peer)))
      await guard.add(mixture(parts, muted, { weight: 0.25 }), round)
      expect(t.x).toEqual(Float32Array.of(1, 1))
    }
    expect(back).toEqual([['mallory', 'trudy'], ['mallory'], ['trudy'], []])
  })

  it('does not let one back whose lie is clipped to less than can be seen', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    await guard.add(mixture({ mallory: [2, 2] }), 1)
    for (const [round, clip, expected] of [
      [2, 0.05, 1],
      [3, 0.5, 1.01],
    ] as const) {
      const muted = guard.muted(round)
      expect(await guard.add(mixture({ mallory: [0.01, 0] }, muted, { clip }), round)).toEqual([])
      expect(t.x[0]).toBeCloseTo(expected, 6)
    }
  })

  it('looks at no copy that has not moved for two rounds, and lets none of them back', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    const old = { ages: { bob: 2 } }
    expect(await guard.add(mixture({ bob: [3, 0] }, new Set(), old), 1)).toEqual([])
    expect(t.x).toEqual(Float32Array.of(4, 1))
    t.x.fill(1)
    expect(await guard.add(mixture({ bob: [3, 0] }), 2)).toEqual(['bob'])
    await guard.add(mixture({ bob: [3, 0] }, guard.muted(3), old), 3)
    expect(t.x).toEqual(Float32Array.of(1, 1))
    await guard.add(mixture({ bob: [0.1, 0] }, guard.muted(4)), 4)
    expect(t.x[0]).toBeCloseTo(1.1, 6)
  })

  it('does not forget a liar that is away for a while', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    const [here, away] = [{ mallory: [2, 2], bob: [0, 0] }, { bob: [0, 0] }]
    for (const round of [1, 2]) {
      await guard.add(mixture(here, guard.muted(round)), round)
      t.x.fill(1)
    }
    for (let round = 3; round <= 9; round++) await guard.add(mixture(away), round)
    expect(t.x).toEqual(Float32Array.of(1, 1))
    expect(await guard.add(mixture(here, guard.muted(10)), 10)).toEqual(['mallory'])
    for (let round = 11; round <= 25; round++) expect([...guard.muted(round)]).toEqual(['mallory'])
  })

  it('goes on to the next muted one while one is away', async () => {
    const guard = createBenefitGuard(trainer())
    const away = (round: number) => {
      const report = mixture({ trudy: [0.1, 0], bob: [0, 0] }, guard.muted(round))
      return { ...report, leftOut: [...report.leftOut, { peer: 'mallory', reason: 'stale' as const }] }
    }
    const first = { mallory: [1, 1], trudy: [1, 1], bob: [0, 0] }
    expect(await guard.add(mixture(first, new Set(), { weight: 0.25 }), 1)).toEqual(['mallory', 'trudy'])
    expect([...guard.muted(2)]).toEqual(['trudy']) // Mallory's turn, but it is not here
    await guard.add(away(2), 2)
    expect([...guard.muted(3)]).toEqual(['mallory'])
    await guard.add(away(3), 3)
    expect([...guard.muted(4)]).toEqual([])
    await guard.add(mixture({ bob: [0, 0], trudy: [0, 0], mallory: [0, 0] }), 4)
    expect([...guard.muted(5)]).toEqual([])
  })

  it.each([
    ['6 % worse, where others cost nothing', 0, 0.346, []],
    ['8 % worse, where others cost nothing', 0, 0.4, ['german']],
    ['19 % worse, where others cost 10 %', 0.447, 0.616, []],
    ['21 % worse, where others cost 10 %', 0.447, 0.648, ['german']],
    ['59 % worse, where all are far away and cost 30 %', 0.775, 1.086, []],
  ])('a neighbour that makes it %s', async (_, usual, step, expected) => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    const others = ['french', 'italian', 'dutch']
    for (let round = 1; round <= 12; round++) {
      await guard.add(mixture({ [others[round % 3]!]: [usual, 0] }, guard.muted(round)), round)
      t.x.fill(1)
    }
    expect(await guard.add(mixture({ german: [step, 0] }), 13)).toEqual(expected)
  })

  it('mutes nobody for less than 25 % while it does not know what is usual', async () => {
    const guard = createBenefitGuard(trainer())
    expect(await guard.add(mixture({ german: [0.69, 0] }), 1)).toEqual([])
    expect(await createBenefitGuard(trainer()).add(mixture({ german: [0.72, 0] }), 1)).toEqual(['german'])
  })

  it('compares with the others mixed in, and not with ourselves alone', async () => {
    // Carol takes us far off; what Bob adds to that is little.
    const guard = createBenefitGuard(trainer())
    expect(await guard.add(mixture({ bob: [0.02, 0], carol: [3, 0] }), 1)).toEqual([])
  })

  it.each([NaN, Infinity])('takes a loss that becomes %d for harm', async (broken) => {
    const t = trainer((x) => (x[0]! > 2 ? broken : 2))
    expect(await createBenefitGuard(t).add(mixture({ mallory: [4, 0] }), 1)).toEqual(['mallory'])
    expect(t.x).toEqual(Float32Array.of(1, 1))
  })

  it('adds nothing and looks at nothing without neighbours', async () => {
    const t = trainer()
    expect(await createBenefitGuard(t).add(mixture({}), 1)).toEqual([])
    expect([t.x, t.looks()]).toEqual([Float32Array.of(1, 1), 0])
  })
})

describe('what averaging with another cell brings', () => {
  /** Moves (1, 1) so far that the loss of 2 becomes so many times as large. */
  const costing = (cost: number, clip = 1, peer = 'outsider') => ({
    peer,
    increment: Float32Array.of(Math.sqrt(2 * (cost - 1)), 0),
    clip,
  })
  /** Where x is after averages of these costs, one after the other, each from (1, 1). */
  async function kept(...costs: readonly number[]): Promise<boolean[]> {
    const t = trainer()
    const guard = createBenefitGuard(t)
    const moved: boolean[] = []
    for (const [i, cost] of costs.entries()) {
      await guard.addAveraged(costing(cost, 1, `outsider ${i}`))
      moved.push(t.x[0]! > 1.01)
      t.x.fill(1)
    }
    return moved
  }

  it('is added, unless it costs more than 7 %', async () => {
    expect(await kept(1.06, 1.08)).toEqual([true, false])
  })

  it('may cost more where that is usual, so that cells that have gone apart come together', async () => {
    expect(await kept(1.2, 1.2, 1.2, 1.2, 1.39, 1.41)).toEqual([false, false, false, true, true, false])
  })

  it('is as usual as the better quarter: half of the others may lie', async () => {
    expect(await kept(2, 1.02, 2, 1.02, 2, 1.02, 2, 1.02)).toEqual(
      Array.from({ length: 8 }, (_, i) => i % 2 === 1),
    )
  })

  it('is refused where the loss is no number any more, and that is not usual', async () => {
    const t = trainer((x) => (x[0]! > 2 ? NaN : 2))
    const guard = createBenefitGuard(t)
    for (let time = 0; time < 5; time++)
      await guard.addAveraged({ peer: `mallory ${time}`, increment: Float32Array.of(4, 0), clip: 1 })
    expect(t.x).toEqual(Float32Array.of(1, 1))
  })

  it('is judged as it was before it was clipped', async () => {
    const t = trainer()
    const guard = createBenefitGuard(t)
    await guard.addAveraged(costing(1.09, 0.5)) // four times 9 %
    expect(t.x).toEqual(Float32Array.of(1, 1))
  })
})
