import { describe, expect, it } from 'vitest'
import { distance, mean } from '../src/mixing.ts'
import { randomVector } from './support/random.ts'
import { settle } from './support/virtual-clock.ts'
import {
  copyAt,
  createWorld,
  meet,
  type Peer,
  startPeer,
  startPeers,
  tell,
  told,
  type World,
} from './support/world.ts'

const x = (seed: number) => randomVector(64, seed)

const FIRST_DEADLINE_MS = 2000

async function trio(): Promise<{ world: World; alice: Peer; bob: Peer; carol: Peer }> {
  const world = createWorld()
  const [alice, bob, carol] = (await startPeers(world, ['alice', 'bob', 'carol'])) as [Peer, Peer, Peer]
  return { world, alice, bob, carol }
}

/** The three have told one round and mixed it; the next can begin. */
async function afterOneRound() {
  const all = await trio()
  for (const [i, peer] of [all.alice, all.bob, all.carol].entries()) await tell(peer, x(i), 1)
  for (const peer of [all.alice, all.bob, all.carol]) peer.gossip.mix(x(0))
  await all.world.clock.advance(10_000)
  return all
}

/** How long a peer waits for the others, on the clock. */
async function waited(world: World, peer: Peer, maxMs: number, signal?: AbortSignal): Promise<number> {
  const before = world.clock.now()
  await world.clock.run(peer.gossip.collect({ maxMs, signal }))
  return world.clock.now() - before
}

describe('collect', () => {
  it('returns at once without neighbours', async () => {
    const { world, alice } = await trio()
    await tell(alice, x(1), 1)
    expect(await waited(world, alice, 60_000)).toBe(0)
    expect(world.clock.sleeping).toBe(0)
  })

  it('returns at once when everyone has arrived already', async () => {
    const { world, alice, bob, carol } = await afterOneRound()
    await tell(bob, x(4), 2)
    await tell(carol, x(5), 2)
    await tell(alice, x(6), 2)
    expect(await waited(world, alice, 60_000)).toBe(0)
    expect(world.clock.sleeping).toBe(0)
  })

  it('returns when the last one arrives', async () => {
    const { world, alice, bob, carol } = await afterOneRound()
    await tell(alice, x(6), 2)
    await tell(bob, x(4), 2)
    let collected = false
    void alice.gossip.collect({ maxMs: 60_000 }).then(() => (collected = true))
    await world.clock.advance(20)
    expect(collected).toBe(false)
    await tell(carol, x(5), 2)
    expect(collected).toBe(true)
  })

  it('is not ended by the same neighbour twice', async () => {
    const { world, alice, bob } = await afterOneRound()
    await tell(alice, x(6), 2)
    let collected = false
    void alice.gossip.collect({ maxMs: 60_000 }).then(() => (collected = true))
    await tell(bob, x(4), 2)
    await world.clock.advance(1)
    await tell(bob, x(5), 3)
    expect(collected).toBe(false)
  })

  it('never waits longer than it may', async () => {
    const { world, alice } = await afterOneRound()
    await tell(alice, x(6), 2)
    expect(await waited(world, alice, 17)).toBe(17)
    expect(await waited(world, alice, 0)).toBe(0)
  })

  it('waits two seconds for a neighbour before anything was learnt', async () => {
    const { world, alice, bob } = await trio()
    await tell(bob, x(1), 1) // before our first publication: no lag to learn from
    bob.gossip.mix(x(1))
    alice.gossip.mix(x(1))
    await tell(alice, x(2), 1)
    expect(await waited(world, alice, 60_000)).toBe(FIRST_DEADLINE_MS)
  })

  it('learns how long the others usually take, and then gives up a silent one soon after that', async () => {
    const { world, alice, bob, carol } = await afterOneRound()
    for (let round = 2; round <= 12; round++) {
      await tell(alice, x(round), round)
      const collecting = alice.gossip.collect({ maxMs: 60_000 })
      await world.clock.advance(100)
      await tell(bob, x(round + 1), round)
      await tell(carol, x(round + 2), round)
      await world.clock.run(collecting)
      alice.gossip.mix(x(round))
      await world.clock.advance(5000)
    }
    await tell(alice, x(20), 13)
    await tell(bob, x(21), 13)
    const silent = await waited(world, alice, 60_000)
    expect(silent).toBeGreaterThanOrEqual(100)
    expect(silent).toBeLessThan(200)
  })

  it('does not wait for those who have been silent for so long that they are not mixed with', async () => {
    const { world, alice, bob } = await afterOneRound()
    for (let round = 2; round <= 10; round++) {
      await tell(alice, x(round), round)
      await tell(bob, x(round + 1), round)
      alice.gossip.mix(x(round))
    }
    await tell(alice, x(20), 11)
    await tell(bob, x(21), 11)
    expect(await waited(world, alice, 60_000)).toBe(0)
  })

  it('returns when it is told to stop waiting, before or while it waits', async () => {
    const { world, alice } = await afterOneRound()
    await tell(alice, x(6), 2)
    expect(await waited(world, alice, 60_000, AbortSignal.abort())).toBe(0)
    const controller = new AbortController()
    const collecting = alice.gossip.collect({ maxMs: 60_000, signal: controller.signal })
    await settle()
    controller.abort()
    await collecting
    expect(world.clock.sleeping).toBe(0)
  })

  it('returns when gossip stops', async () => {
    const { world, alice } = await afterOneRound()
    await tell(alice, x(6), 2)
    const collecting = alice.gossip.collect({ maxMs: 60_000 })
    await settle()
    alice.gossip.stop()
    await collecting
    expect(world.clock.sleeping).toBe(0)
  })
})

describe('mix', () => {
  /** All three have told a round, and nobody has mixed yet. */
  async function allTold() {
    const all = await trio()
    for (const [i, peer] of [all.alice, all.bob, all.carol].entries()) await tell(peer, x(i), 1)
    return all
  }
  const mixOften = (peer: Peer, times: number) => Array.from({ length: times }, () => peer.gossip.mix(x(1)))

  it('adds w · (y_j - y_i) of every neighbour, from public copies and not from x', async () => {
    const { alice, bob, carol } = await allTold()
    const copies = [alice, bob, carol].map((peer) => peer.states[0]!.copy)
    const { increment, mixedWith, leftOut } = alice.gossip.mix(x(77))
    expect(mixedWith).toEqual([
      { peer: 'bob', ageRounds: 0, weight: 1 / 3, clip: 1 },
      { peer: 'carol', ageRounds: 0, weight: 1 / 3, clip: 1 },
    ])
    expect(leftOut).toEqual([])
    const expected = mean(copies).map((value, k) => value - copies[0]![k]!)
    expect(distance(increment, expected)).toBeLessThan(1e-6)
  })

  it('changes no copy: the increment is for x alone', async () => {
    const { alice, bob } = await allTold()
    alice.gossip.mix(x(1)).increment.fill(9)
    expect(copyAt(alice, 'alice')).toBe(told(alice, 0))
    expect(copyAt(alice, 'bob')).toBe(told(bob, 0))
  })

  it('is nothing without neighbours', async () => {
    const { alice } = await trio()
    await tell(alice, x(1), 1)
    expect(alice.gossip.mix(x(2))).toMatchObject({
      increment: new Float32Array(64),
      mixedWith: [],
      leftOut: [],
      consensusDistance: undefined,
    })
  })

  it('gives peers who leave out the same one the weights that they would have without it', async () => {
    const { alice, carol } = await allTold()
    const withoutBob = new Set(['bob'])
    for (const peer of [alice, carol]) peer.gossip.mix(x(1), withoutBob)
    for (const peer of [alice, carol]) await tell(peer, x(9), 2)
    for (const peer of [alice, carol])
      expect(peer.gossip.mix(x(1), withoutBob).mixedWith).toMatchObject([{ weight: 1 / 2 }])
  })

  it('leaves out who has learnt against us, where the federation is robust', async () => {
    for (const robust of [true, false]) {
      const world = createWorld('float32', 64, robust)
      const [alice, bob] = (await startPeers(world, ['alice', 'bob'])) as [Peer, Peer]
      const learnt = (share: number) => world.initial.map((value, k) => value + share * x(7)[k]!)
      await tell(bob, learnt(-1), 1)
      await tell(alice, learnt(1), 1)
      const { mixedWith, leftOut } = alice.gossip.mix(learnt(1))
      expect(mixedWith).toHaveLength(robust ? 0 : 1)
      expect(leftOut).toEqual(robust ? [{ peer: 'bob', reason: 'opposed' }] : [])
    }
  })

  it('leaves out whom it is told to, and says so; the weights of the others stay', async () => {
    const { alice, carol } = await allTold()
    const report = alice.gossip.mix(x(1), new Set(['bob', 'nobody']))
    expect(report.mixedWith).toEqual([{ peer: 'carol', ageRounds: 0, weight: 1 / 3, clip: 1 }])
    expect(report.leftOut).toEqual([{ peer: 'bob', reason: 'muted' }])
    const expected = carol.states[0]!.copy.map((value, k) => (value - alice.states[0]!.copy[k]!) / 3)
    expect(distance(report.increment, expected)).toBeLessThan(1e-6)
  })

  it('is the sum of what each neighbour contributes', async () => {
    const { alice } = await allTold()
    const report = alice.gossip.mix(x(1))
    const [bobs, carols] = [report.contribution('bob'), report.contribution('carol')]
    const sum = bobs.map((value, k) => value + carols[k]!)
    expect(distance(report.increment, sum)).toBeLessThan(1e-6)
    expect(distance(bobs, carols)).toBeGreaterThan(0.1)
    expect(report.contribution('nobody')).toEqual(new Float32Array(64))
  })

  it('measures the disagreement before mixing: |x - m| / |m - init|, m the mean of all copies', async () => {
    const { world, alice, bob, carol } = await allTold()
    const centre = mean([alice, bob, carol].map((peer) => peer.states[0]!.copy))
    const expected = distance(x(5), centre) / distance(centre, world.initial)
    expect(alice.gossip.consensus(x(5))).toBeCloseTo(expected, 6)
    expect(alice.gossip.mix(x(5)).consensusDistance).toBeCloseTo(expected, 6)
  })

  it('halves the weight of a copy for each round that it has not moved, after the first', async () => {
    const { alice } = await allTold()
    const reports = mixOften(alice, 5).map(({ mixedWith }) => mixedWith[0]!)
    expect(reports.map(({ ageRounds }) => ageRounds)).toEqual([0, 1, 2, 3, 4])
    expect(reports.map(({ weight }) => weight)).toEqual(
      [1, 1, 1 / 2, 1 / 4, 1 / 8].map((discount) => discount / 3),
    )
  })

  it('leaves out a copy that has not moved for more than seven rounds, and says so', async () => {
    const { world, alice, bob } = await allTold()
    mixOften(alice, 8)
    await tell(bob, x(9), 2)
    const report = alice.gossip.mix(x(1))
    expect(report.mixedWith).toEqual([{ peer: 'bob', ageRounds: 0, weight: 1 / 3, clip: 1 }]) // Bob follows two
    expect(report.leftOut).toEqual([{ peer: 'carol', reason: 'stale' }])
    const centre = mean([alice.states[0]!.copy, bob.states[1]!.copy])
    expect(report.consensusDistance).toBeCloseTo(distance(x(1), centre) / distance(centre, world.initial), 6)
  })

  it('keeps a copy until then', async () => {
    const { alice } = await allTold()
    expect(
      mixOften(alice, 8)
        .at(-1)!
        .mixedWith.map(({ ageRounds }) => ageRounds),
    ).toEqual([7, 7])
  })

  it('takes a stale neighbour back when it moves again', async () => {
    const { alice, carol } = await allTold()
    expect(mixOften(alice, 9).at(-1)!.mixedWith).toEqual([])
    await tell(carol, x(9), 2)
    expect(alice.gossip.mix(x(1)).mixedWith).toMatchObject([{ peer: 'carol', ageRounds: 0 }])
  })

  it('gives an edge the same weight from both ends, also where peers have different degrees', async () => {
    const world = createWorld()
    const peers = await startPeers(world, ['alice', 'bob', 'carol', 'dave'])
    // Alice and Dave hear nothing of each other.
    world.pubsub.lost = (author, to) => [author, to].sort().join() === 'alice,dave'
    for (let round = 1; round <= 3; round++) {
      for (const [i, peer] of peers.entries()) await tell(peer, x(10 * round + i), round)
    }
    const weights = peers.map(
      ({ gossip }) => new Map(gossip.mix(x(1)).mixedWith.map(({ peer, weight }) => [peer, weight])),
    )
    const [fromAlice, fromBob, , fromDave] = weights
    expect(fromAlice!.get('bob')).toBe(1 / 4)
    expect(fromBob!.get('alice')).toBe(1 / 4)
    expect(fromBob!.get('dave')).toBe(fromDave!.get('bob'))
    expect([...fromAlice!.keys()]).toEqual(['bob', 'carol'])
  })
})

describe('neighbours', () => {
  it('are listed by peer id, with their rounds and how many of our mixtures they have sat out', async () => {
    const { alice, bob, carol } = await trio()
    await tell(carol, x(1), 7)
    await tell(bob, x(2), 3)
    await tell(bob, x(3), 4)
    expect(alice.gossip.neighbours()).toEqual([
      { peer: 'bob', round: 4, ageRounds: 0 },
      { peer: 'carol', round: 7, ageRounds: 0 },
    ])
    alice.gossip.mix(x(1))
    alice.gossip.mix(x(1))
    await tell(carol, x(4), 8)
    expect(alice.gossip.neighbours()).toEqual([
      { peer: 'bob', round: 4, ageRounds: 2 },
      { peer: 'carol', round: 8, ageRounds: 0 },
    ])
  })

  it('are forgotten after a hundred rounds of silence, and found again when they speak', async () => {
    const { alice, bob } = await trio()
    await tell(bob, x(1), 1)
    for (let round = 1; round <= 100; round++) alice.gossip.mix(x(1))
    await tell(alice, x(2), 100)
    expect(alice.gossip.neighbours()).toHaveLength(1)
    alice.gossip.mix(x(1))
    await tell(alice, x(3), 101)
    expect(alice.gossip.neighbours()).toEqual([])
    expect(alice.gossip.joinAt()).toBeUndefined()
    await tell(bob, x(4), 2)
    expect(alice.gossip.neighbours()).toEqual([{ peer: 'bob', round: 2, ageRounds: 0 }])
    expect(copyAt(alice, 'bob')).toBe(told(bob, 1))
  })
})

describe('perplexities', () => {
  const publishers = async (...perplexities: (number | undefined)[]) => {
    const world = createWorld()
    const alice = await startPeer(world, 'alice')
    const now = [...perplexities]
    const peers: Peer[] = []
    for (const i of perplexities.keys())
      peers.push(await startPeer(world, `peer ${i}`, { perplexity: () => now[i] }))
    await meet(world, alice, ...peers)
    for (const [i, peer] of peers.entries()) await tell(peer, x(i), 1)
    return { world, alice, peers, now }
  }

  it('are those of who publishes one, the last of each, the least first', async () => {
    const { alice, peers, now } = await publishers(50.5, undefined, 20.25, 120)
    expect(alice.gossip.perplexities()).toEqual([20.25, 50.5, 120])
    now[0] = 8
    await tell(peers[0]!, x(9), 2)
    expect(alice.gossip.perplexities()).toEqual([8, 20.25, 120])
    // Those who publish none hear it as well.
    expect(peers[1]!.gossip.perplexities()).toEqual([8, 20.25, 120])
  })

  it('are forgotten when an author publishes none any more', async () => {
    const { alice, peers, now } = await publishers(50.5, 20.25)
    now[1] = undefined
    await tell(peers[1]!, x(9), 2)
    expect(alice.gossip.perplexities()).toEqual([50.5])
  })

  it('are forgotten with an author who goes silent, and known again when it speaks', async () => {
    const { alice, peers } = await publishers(50.5, 20.25)
    for (let round = 1; round <= 7; round++) alice.gossip.mix(x(1))
    expect(alice.gossip.perplexities()).toEqual([20.25, 50.5])
    alice.gossip.mix(x(1))
    expect(alice.gossip.perplexities()).toEqual([])
    await tell(peers[0]!, x(9), 2)
    expect(alice.gossip.perplexities()).toEqual([50.5])
  })

  it('come with a copy that is fetched as a whole, too', async () => {
    const { world, alice } = await publishers(50.5, 20.25)
    const late = await startPeer(world, 'late')
    await meet(world, alice, late)
    await world.clock.run(late.gossip.catchUp('alice'))
    expect(late.gossip.perplexities()).toEqual([20.25, 50.5])
  })

  it.each([NaN, Infinity, 0.5, 1e30])(
    'are not published where they would be refused, and all else is: %d',
    async (value) => {
      const { alice, peers } = await publishers(value)
      expect(alice.gossip.perplexities()).toEqual([])
      expect(alice.refusals).toEqual([])
      expect(copyAt(alice, 'peer 0')).toBe(told(peers[0]!))
    },
  )
})

describe('stop', () => {
  it('ends listening: later announcements are not heard', async () => {
    const { alice, bob } = await afterOneRound()
    alice.gossip.stop()
    await tell(bob, x(9), 2)
    expect(copyAt(alice, 'bob')).toBe(told(bob, 0))
  })
})
