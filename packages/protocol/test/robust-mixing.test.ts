import { describe, expect, it } from 'vitest'
import { distance, mean, norm } from '../src/mixing.ts'
import { roundTogether, type Trainee } from './support/lockstep.ts'
import { randomVector } from './support/random.ts'
import { createWorld, startPeers } from './support/world.ts'

const LENGTH = 120
const HONEST = 7
const ROUNDS = 30

type Attack = (honest: Float32Array, round: number) => Float32Array

const turnedRound: Attack = (x) => x.map((value) => -10 * value)
const ATTACKS: readonly (readonly [string, Attack])[] = [
  ['send noise', (x, round) => randomVector(x.length, round, 50)],
  ['are always at the same place, far away', (x) => x.map(() => 1e4)],
]

/**
 * Seven peers look for the mean of their targets, which are alike; two more lie.
 * @returns how far honest peers end from where they would be among themselves, in units of the way there
 */
async function errorOf(attack: Attack | undefined, robust: boolean) {
  const world = createWorld('int8', LENGTH, robust)
  const liars = attack === undefined ? 0 : 2
  const peers = await startPeers(
    world,
    Array.from({ length: HONEST + liars }, (_, i) => `peer-${i}`),
  )
  const trainees: Trainee[] = peers.map((peer) => ({ peer, x: world.initial.slice() }))
  const shared = randomVector(LENGTH, 5)
  const targets = Array.from({ length: HONEST }, (_, i) => {
    const own = randomVector(LENGTH, 60 + i, 0.5)
    return shared.map((value, k) => value + own[k]!)
  })
  const target = mean(targets)
  for (let round = 1; round <= ROUNDS; round++) {
    await roundTogether(world, trainees, round, (x, index) => {
      if (index >= HONEST) {
        x.set(attack!(trainees[0]!.x, round))
        return
      }
      for (let k = 0; k < LENGTH; k++) x[k]! += 0.3 * (targets[index]![k]! - x[k]!)
    })
  }
  const errors = trainees.slice(0, HONEST).map(({ x }) => distance(x, target))
  const clipped = trainees.slice(0, HONEST).flatMap(({ peer }) => peer.gossip.mix(world.initial).mixedWith)
  return {
    error: Math.max(...errors) / distance(target, world.initial),
    clippedHonest: clipped.filter(({ peer, clip }) => clip < 1 && Number(peer.slice(5)) < HONEST).length,
    clippedLiars: clipped.filter(({ peer, clip }) => clip < 1 && Number(peer.slice(5)) >= HONEST).length,
    heardLiars: clipped.filter(({ peer }) => Number(peer.slice(5)) >= HONEST).length,
  }
}

describe('robust mixing', () => {
  it('costs honest peers nothing among themselves, and clips none of them', async () => {
    const [on, off] = [await errorOf(undefined, true), await errorOf(undefined, false)]
    expect(on.error).toBe(off.error)
    expect(on.clippedHonest).toBe(0)
  })

  it('leaves out who turns the update round, whom all have learnt against', async () => {
    const [off, on, without] = [
      await errorOf(turnedRound, false),
      await errorOf(turnedRound, true),
      await errorOf(undefined, true),
    ]
    expect(off.error).toBeGreaterThan(0.8)
    expect(on.heardLiars).toBe(0)
    expect(on.error).toBeLessThan(without.error + 0.01)
  })

  it.each(ATTACKS)('keeps honest peers on their way when two of nine %s', async (_, attack) => {
    const [off, on] = [await errorOf(attack, false), await errorOf(attack, true)]
    expect(off.error).toBeGreaterThan(0.8)
    expect(on.error).toBeLessThan(0.5)
    expect(on.clippedLiars).toBe(2 * HONEST)
    expect(on.clippedHonest).toBe(0)
  })

  it('lets nobody move us to where float32 does not come back from, not even the only neighbour', async () => {
    const world = createWorld('float32', LENGTH, true)
    const trainees = (await startPeers(world, ['honest', 'liar'])).map((peer) => ({
      peer,
      x: world.initial.slice(),
    }))
    const [honest] = trainees as [Trainee, Trainee]
    await roundTogether(world, trainees, 1, (x, index) => {
      if (index === 1) x.fill(1e30)
    })
    const moved = distance(honest.x, world.initial) / norm(world.initial)
    // Ten lengths, at a weight of a half.
    expect(moved).toBeGreaterThan(4.9)
    expect(moved).toBeLessThan(5.1)
  })
})
