import type { MixReport } from '@comigs/protocol'
import { describe, expect, it } from 'vitest'
import { createBenefitGuard } from '../src/benefit-guard.ts'

type Parts = Readonly<Record<string, readonly number[]>>

/** A mixture made of what each neighbour adds. */
function mixture(parts: Parts, muted: ReadonlySet<string> = new Set()): MixReport {
  const heard = Object.entries(parts).filter(([peer]) => !muted.has(peer))
  const sum = (of: readonly (readonly number[])[]) =>
    Float32Array.of(...[0, 1].map((k) => of.reduce((total, part) => total + part[k]!, 0)))
  return {
    increment: sum(heard.map(([, part]) => part)),
    mixedWith: heard.map(([peer]) => ({ peer, ageRounds: 0, weight: 1, clip: 1 })),
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
