import { describe, expect, it } from 'vitest'
import { decodeSigned } from '../src/announcement.ts'
import { CODECS } from '../src/codec/codec.ts'
import { mean } from '../src/mixing.ts'
import { decodeOwnState, encodeOwnState, type OwnState } from '../src/own-state.ts'
import { Announcement } from '../src/pb/messages.ts'
import { rejection } from './support/check.ts'
import { announcementOf, forge } from './support/federation.ts'
import { randomVector } from './support/random.ts'
import { hashSigner } from './support/signers.ts'
import { settle, VirtualClock } from './support/virtual-clock.ts'
import {
  copyAt,
  createWorld,
  meet,
  type Peer,
  type PeerOptions,
  startPeer,
  startPeers,
  tell,
  told,
  type World,
} from './support/world.ts'

const x = (seed: number) => randomVector(64, seed)

const pair = async (world: World) => (await startPeers(world, ['alice', 'bob'])) as [Peer, Peer]

/** What a state says about itself to the swarm. */
const announced = (state: OwnState) => Announcement.decode(decodeSigned(state.announcement).body)

/** The same peer again, in a new process. Whom it knew it has to meet again. */
async function restart(
  world: World,
  peer: Peer,
  others: readonly Peer[],
  options: PeerOptions,
): Promise<Peer> {
  peer.gossip.stop()
  await peer.exchange.stop()
  const again = await startPeer(world, peer.name, options)
  for (const other of others) await meet(world, again, other)
  return again
}

/** Through the file. */
const restored = (state: OwnState): OwnState => decodeOwnState(encodeOwnState(state), state.copy.length)

describe('a joiner', () => {
  it('starts nowhere while there is nobody', async () => {
    const bob = await startPeer(createWorld(), 'bob')
    expect(bob.gossip.joinAt()).toBeUndefined()
  })

  it('catches up from one peer with all that it follows, and starts at their mean', async () => {
    const world = createWorld()
    const peers = await startPeers(world, ['alice', 'bob', 'dave'])
    for (const [i, peer] of peers.entries())
      for (let round = 1; round <= 3; round++) await tell(peer, x(10 * i + round), round)
    const carol = await startPeer(world, 'carol')
    await meet(world, carol, ...peers)
    await world.clock.run(carol.gossip.catchUp('bob'))
    const copies = peers.map((peer) => peer.states.at(-1)!.copy)
    expect(peers.map(({ name }) => copyAt(carol, name))).toEqual(peers.map((peer) => told(peer)))
    expect(carol.gossip.joinAt()).toEqual(mean(copies))
  })

  it('announces a full copy, sequence 0 of an epoch of its own, and is followed from there', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    const values = await alice.gossip.begin(x(1), 4)
    await settle()
    expect(announced(alice.states[0]!)).toMatchObject({ sequence: 0, round: 4, length: 2 * 64 })
    expect(announced(alice.states[0]!).epoch).toBeGreaterThanOrEqual(world.clock.now() / 1000)
    expect(copyAt(bob, 'alice')).toBe(told(alice))
    expect(alice.states[0]!.copy).toEqual(values)
    expect(values).toEqual(
      CODECS.float16.decode(
        CODECS.float16.encode(x(1), () => 0.5),
        64,
      ),
    )

    // What the half floats left out goes out with the next delta.
    await tell(alice, x(1), 5)
    expect(announced(alice.states[1]!)).toMatchObject({
      sequence: 1,
      round: 5,
      epoch: alice.states[0]!.epoch,
    })
    expect(copyAt(bob, 'alice')).toBe(told(alice, 1))
    expect(bob.refusals).toEqual([])
  })

  it('does not begin at what is not finite', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    for (const bad of [NaN, Infinity, 1e6]) {
      expect((await rejection(alice.gossip.begin(x(1).fill(bad, 0, 1), 0))).code).toBe('PAYLOAD_NON_FINITE')
    }
    await settle()
    expect(alice.states).toEqual([])
    expect(bob.refusals).toEqual([])
  })

  it('takes from a list only what is well formed and signed by its author', async () => {
    const world = createWorld()
    const { manifest } = world
    const { signed: forged } = await forge(announcementOf(manifest, 'dave'), hashSigner('mallory'))
    const { signed: foreign } = await forge(
      announcementOf(manifest, 'eve', { version: 2 }),
      hashSigner('eve'),
    )
    const { signed: ours } = await forge(announcementOf(manifest, 'carol'), hashSigner('mallory'))
    const bob = await startPeer(world, 'bob', {
      serving: (honest) => ({ announcements: () => [forged, foreign, ours, ...honest.announcements()] }),
    })
    const carol = await startPeer(world, 'carol')
    await meet(world, bob, carol)
    world.pubsub.lost = () => true
    await tell(bob, x(1), 1)
    await world.clock.run(carol.gossip.catchUp('bob'))
    expect(carol.refusals).toContainEqual({ reason: 'signature', peer: 'bob' })
    expect(carol.refusals).toContainEqual({ reason: 'malformed', peer: 'bob' })
    expect(carol.gossip.neighbours().map(({ peer }) => peer)).toEqual(['bob'])
  })
})

describe('a restart with the stored state', () => {
  it('goes on with the sequence, and is heard', async () => {
    const world = createWorld('int8')
    const [alice, bob] = await pair(world)
    await tell(alice, x(1), 1)
    await tell(alice, x(2), 2)
    const again = await restart(world, alice, [bob], { restored: restored(alice.states[1]!) })
    await tell(again, x(3), 3)
    expect(announced(again.states[0]!)).toMatchObject({
      epoch: alice.states[0]!.epoch,
      sequence: 3,
      round: 3,
    })
    expect(copyAt(bob, 'alice')).toBe(told(again, 0))
    expect(bob.refusals).toEqual([])
  })

  it('draws the random numbers that it would have drawn: a stream for each sequence', async () => {
    const publishThird = async (interrupted: boolean) => {
      const world = createWorld('int8')
      const [alice, bob] = await pair(world)
      await tell(alice, x(1), 1)
      await tell(alice, x(2), 2)
      expect(alice.streams).toEqual(['codec 0', 'codec 1'])
      const state = restored(alice.states[1]!)
      const third = interrupted ? await restart(world, alice, [bob], { restored: state }) : alice
      await tell(third, x(3), 3)
      expect(third.streams.at(-1)).toBe('codec 2')
      return third.states.at(-1)!.payload
    }
    expect(await publishThird(true)).toEqual(await publishThird(false))
  })

  it('announces at once what it had written down but not yet said when it died', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    await tell(alice, x(1), 1)
    world.pubsub.lost = () => true
    await tell(alice, x(2), 2) // written, never heard
    world.pubsub.lost = () => false
    const again = await restart(world, alice, [bob], { restored: restored(alice.states[1]!) })
    expect(again.diary[0]).toBe('publish')
    expect(world.pubsub.judgements.at(-1)).toEqual({ at: 'bob', author: 'alice', verdict: 'accept' })
    // Who did not know it yet, and so could not fetch, catches up when they meet.
    await world.clock.run(bob.gossip.catchUp('alice'))
    expect(copyAt(bob, 'alice')).toBe(told(alice))
    await tell(again, x(3), 3)
    expect(copyAt(bob, 'alice')).toBe(told(again))
  })

  it('begins a higher epoch when it begins anew, even if the clock went back', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    await alice.gossip.begin(x(1), 0)
    await settle()
    const again = await restart(world, alice, [bob], {
      restored: restored(alice.states[0]!),
      clock: new VirtualClock(world.clock.now() - 86_400_000),
    })
    await again.gossip.begin(x(2), 5)
    await settle()
    expect(again.states[0]!.epoch).toBeGreaterThan(alice.states[0]!.epoch)
    expect(copyAt(bob, 'alice')).toBe(told(again, 0))
  })
})

describe('a restart without a state', () => {
  it('begins a higher epoch and is heard', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    await tell(alice, x(1), 1)
    await tell(alice, x(2), 2)
    await world.clock.advance(2000)
    const again = await restart(world, alice, [bob], {})
    await again.gossip.begin(x(3), 0)
    await settle()
    expect(again.states[0]!.epoch).toBeGreaterThan(alice.states[0]!.epoch)
    expect(copyAt(bob, 'alice')).toBe(told(again, 0))
  })

  it('is heard also when it just goes on publishing', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    await tell(alice, x(1), 1)
    await tell(alice, x(2), 2)
    await world.clock.advance(2000)
    const again = await restart(world, alice, [bob], {})
    await tell(again, x(3), 1)
    expect(copyAt(bob, 'alice')).toBe(told(again, 0))
  })

  it('begins a higher epoch even if the clock went back: the swarm tells it how far it was', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    await tell(alice, x(1), 1)
    const clock = new VirtualClock(world.clock.now() - 86_400_000)
    const again = await restart(world, alice, [bob], { clock })
    await clock.run(again.gossip.catchUp('bob'))
    await again.gossip.begin(x(3), 0)
    await settle()
    expect(again.states[0]!.epoch).toBeGreaterThan(alice.states[0]!.epoch)
    expect(copyAt(bob, 'alice')).toBe(told(again, 0))
  })
})

describe('writing down', () => {
  it('comes before announcing, for a delta and for a full copy', async () => {
    const alice = await startPeer(createWorld(), 'alice')
    await alice.gossip.begin(x(1), 0)
    await alice.gossip.publish(x(2), 1)
    expect(alice.diary).toEqual(['persist', 'publish', 'persist', 'publish'])
  })

  it('is waited for: nothing is said, and nothing new served, while the disk is busy', async () => {
    const world = createWorld()
    let write: () => void = () => undefined
    const persist = () => new Promise<void>((resolve) => (write = resolve))
    const alice = await startPeer(world, 'alice', { persist })
    const publishing = alice.gossip.publish(x(1), 1)
    await settle()
    expect(alice.diary).toEqual(['persist'])
    expect(alice.gossip.holdings.copy('alice')).toBeUndefined()
    write()
    await publishing
    expect(alice.diary).toEqual(['persist', 'publish'])
    expect(copyAt(alice, 'alice')).toBe(told(alice, 0))
  })

  it('that fails makes publishing fail: nothing is announced, and the next attempt has the same sequence', async () => {
    const world = createWorld()
    let full = true
    const persist = async () => {
      if (full) throw new Error('the disk is full')
    }
    const alice = await startPeer(world, 'alice', { persist })
    const bob = await startPeer(world, 'bob')
    await meet(world, alice, bob)
    await expect(alice.gossip.publish(x(1), 1)).rejects.toThrow('the disk is full')
    await expect(alice.gossip.begin(x(1), 1)).rejects.toThrow('the disk is full')
    await settle()
    expect(world.pubsub.judgements).toEqual([])
    expect(alice.gossip.holdings.announcements()).toEqual([])
    full = false
    await tell(alice, x(2), 2)
    expect(alice.states[0]!.sequence).toBe(1)
    expect(copyAt(bob, 'alice')).toBe(told(alice, 0))
  })

  it('holds what a restart needs: the copy, the announcement of it, and its payload', async () => {
    const alice = await startPeer(createWorld('int8'), 'alice')
    const { payloadBytes } = await alice.gossip.publish(x(1), 7)
    const state = alice.states[0]!
    expect(state).toMatchObject({ sequence: 1, round: 7 })
    expect(state.payload).toHaveLength(payloadBytes)
    expect(decodeSigned(state.announcement)).toEqual(alice.gossip.holdings.copy('alice')!.announcement)
    expect(copyAt(alice, 'alice')).toBe(told(alice))
  })

  it('is not asked for what is not finite: publishing it fails', async () => {
    const alice = await startPeer(createWorld(), 'alice')
    expect((await rejection(alice.gossip.publish(x(1).fill(NaN, 9, 10), 1))).code).toBe('PAYLOAD_NON_FINITE')
    expect(alice.diary).toEqual([])
  })
})
