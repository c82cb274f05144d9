import { describe, expect, it } from 'vitest'
import { decodeSigned } from '../src/announcement.ts'
import { positionOf } from '../src/cells.ts'
import { CODECS } from '../src/codec/codec.ts'
import { type Holdings, PROTOCOLS } from '../src/exchange.ts'
import type { LeftOutReason } from '../src/gossip.ts'
import { LIMITS } from '../src/limits.ts'
import { PayloadAnswer, PayloadRequest, Status } from '../src/pb/messages.ts'
import { payloadOf } from '../src/payload.ts'
import { reply } from '../src/stream.ts'
import { announcementOf, copyBytes, copyHash, forge } from './support/federation.ts'
import { andThenSilence, answerWith, frame } from './support/hostile.ts'
import { randomVector, seeded } from './support/random.ts'
import { hashSigner } from './support/signers.ts'
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

const pair = async (world: World) => (await startPeers(world, ['alice', 'bob'])) as [Peer, Peer]

/** What an author publishes while somebody does not hear it. */
async function tellWithout(world: World, deaf: readonly string[], author: Peer, seeds: readonly number[]) {
  world.pubsub.lost = (from, to) => from === author.name && deaf.includes(to)
  for (const seed of seeds) await tell(author, x(seed), seed)
  world.pubsub.lost = () => false
}

/** Somebody hears an author's last announcement at last. */
async function hears(world: World, peer: Peer, author: Peer): Promise<void> {
  await world.pubsub.judge(world.topic, author.states.at(-1)!.announcement, author.name, peer.name)
  await world.clock.advance(2 * LIMITS.progressTimeoutMs)
}

/** A peer with an honest wire that announces what it likes. */
async function forger(world: World, name: string, payload: Uint8Array, serving: Partial<Holdings> = {}) {
  const peer = await startPeer(world, name, {
    serving: () => ({ payload: () => payloadOf(payload), ...serving }),
  })
  const announce = async (
    fields: { sequence?: number; copyHash?: Uint8Array; payloadHash?: Uint8Array } = {},
  ) => {
    const announcement = announcementOf(world.manifest, name, {
      length: payload.byteLength,
      payloadHash: payloadOf(payload).hash,
      ...fields,
    })
    const forged = await forge(announcement, hashSigner(name))
    await world.pubsub.flood(world.topic, forged.data, name)
    await settle()
    return forged
  }
  return { peer, announce }
}

describe('a follower', () => {
  it('begins with the manifest’s init and adds delta after delta', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    for (let round = 1; round <= 3; round++) {
      await tell(alice, x(round), round)
      expect(copyAt(bob, 'alice')).toBe(told(alice))
    }
    expect(bob.diary.filter((entry) => entry.startsWith('copy'))).toEqual([
      'copy alice 1',
      'copy alice 2',
      'copy alice 3',
    ])
    expect(bob.refusals).toEqual([])
  })

  it('goes on to the newest when announcements come faster than it can pull', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    world.network.stall('alice', 'bob')
    for (let round = 1; round <= 5; round++) await tell(alice, x(round), round)
    world.network.resume('alice', 'bob')
    await settle()
    expect(copyAt(bob, 'alice')).toBe(told(alice))
  })

  it('heals a gap by fetching the whole copy', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    await tell(alice, x(1), 1)
    await tellWithout(world, ['bob'], alice, [2])
    expect(copyAt(bob, 'alice')).toBe(told(alice, 0))
    await tell(alice, x(3), 3)
    expect(copyAt(bob, 'alice')).toBe(told(alice, 2))
    expect(bob.refusals).toEqual([])
    // ... and follows by deltas from there.
    await tell(alice, x(4), 4)
    expect(copyAt(bob, 'alice')).toBe(told(alice, 3))
    const last = payloadOf(alice.states[3]!.payload)
    expect(bob.gossip.holdings.payload(last.hash)).toEqual(last)
  })

  it('heals a copy that the delta does not fit: the full copy that an epoch began with was not heard', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    world.pubsub.lost = () => true
    await alice.gossip.begin(x(1), 0)
    await settle()
    world.pubsub.lost = () => false
    await tell(alice, x(2), 1)
    expect(alice.states.at(-1)!.sequence).toBe(1)
    expect(copyAt(bob, 'alice')).toBe(told(alice))
    expect(bob.refusals).toEqual([])
  })

  it('keeps what it has when an author serves other bytes than it announced', async () => {
    const world = createWorld()
    const { peer, announce } = await forger(world, 'mallory', copyBytes(x(1)))
    const bob = await startPeer(world, 'bob')
    await meet(world, peer, bob)
    await announce({ payloadHash: payloadOf(copyBytes(x(2))).hash })
    expect(bob.refusals).toEqual([{ reason: 'hash', peer: 'mallory' }])
    expect(copyAt(bob, 'mallory')).toBeUndefined()
  })

  it('keeps what it has when an author serves another length than it announced', async () => {
    const world = createWorld()
    const { peer, announce } = await forger(world, 'mallory', copyBytes(x(1)))
    const bob = await startPeer(world, 'bob')
    await meet(world, peer, bob)
    const { proof } = payloadOf(copyBytes(x(1)))
    const header = PayloadAnswer.encode({ status: Status.OK, length: 252, proof })
    await answerWith(world.network, 'mallory', PROTOCOLS.payload, () => [frame(header)])
    await announce()
    expect(bob.refusals).toEqual([{ reason: 'length', peer: 'mallory' }])
  })

  it('refuses a payload that is announced and hashed right but of a length that no delta has', async () => {
    const world = createWorld()
    const { peer, announce } = await forger(world, 'mallory', copyBytes(x(1)).subarray(4))
    const bob = await startPeer(world, 'bob')
    await meet(world, peer, bob)
    await announce()
    expect(bob.refusals).toEqual([{ reason: 'malformed', peer: 'mallory' }])
    expect(copyAt(bob, 'mallory')).toBeUndefined()
  })

  it.each([
    ['a delta of NaN', 'float32', x(1).fill(NaN, 3, 4), 1],
    ['a delta of infinity', 'float32', x(1).fill(Infinity, 63), 1],
    ['a delta that overflows', 'float32', x(1).fill(3.4e38), 2],
    ['a full copy of NaN', 'float16', x(1).fill(NaN, 3, 4), 0],
    ['a full copy of infinity', 'float16', x(1).fill(1e6, 3, 4), 0],
  ] as const)('refuses %s, whatever its hash', async (_, codec, values, sequence) => {
    const world = createWorld()
    const payload = CODECS[codec].encode(values, seeded(1))
    const { peer, announce } = await forger(world, 'mallory', payload, {
      copy: () => undefined,
    })
    const bob = await startPeer(world, 'bob')
    await meet(world, peer, bob)
    // A delta that overflows needs one before it that does not.
    await announce({
      sequence: Math.min(1, sequence),
      copyHash: copyHash(world.initial.map((v, k) => v + values[k]!)),
    })
    await announce({ sequence, copyHash: copyHash(values) })
    expect(bob.refusals.at(-1)).toEqual({ reason: 'non-finite', peer: 'mallory' })
  })

  it('refuses a whole copy that is not finite', async () => {
    const world = createWorld()
    const values = x(1).fill(NaN, 5, 6)
    const copy = await forge(
      announcementOf(world.manifest, 'mallory', { sequence: 5, copyHash: copyHash(values) }),
      hashSigner('mallory'),
    )
    const { peer, announce } = await forger(world, 'mallory', copyBytes(x(2)), {
      copy: () => ({ announcement: copy.signed, bytes: copyBytes(values) }),
    })
    const bob = await startPeer(world, 'bob')
    await meet(world, peer, bob)
    await announce({ sequence: 5 })
    expect(bob.refusals[0]).toEqual({ reason: 'non-finite', peer: 'mallory' })
    expect(copyAt(bob, 'mallory')).toBeUndefined()
  })

  it('gives up an author that stalls in the middle of a payload, and takes its next one', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    // The header is there, the bytes never come.
    world.pubsub.lost = () => true
    await tell(alice, x(1), 1)
    world.pubsub.lost = () => false
    const { proof } = payloadOf(alice.states[0]!.payload)
    const header = PayloadAnswer.encode({ status: Status.OK, length: 4 * 64, proof })
    await answerWith(world.network, 'alice', PROTOCOLS.payload, () => andThenSilence(frame(header)))
    await world.pubsub.judge(world.topic, alice.states[0]!.announcement, 'alice', 'bob')
    await world.clock.advance(LIMITS.progressTimeoutMs - 1)
    expect(bob.refusals).toEqual([])
    await world.clock.advance(LIMITS.progressTimeoutMs + 1)
    expect(bob.refusals).toEqual([{ reason: 'timeout', peer: 'alice' }])

    await alice.exchange.start()
    await tell(alice, x(2), 2)
    expect(copyAt(bob, 'alice')).toBe(told(alice, 1))
  })

  it('does not take what was announced in a cell that it has left meanwhile', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    const arrivals: (() => void)[] = []
    world.network.opening = () =>
      new Promise((resolve) => {
        arrivals.push(() => {
          resolve(undefined)
        })
      })
    await tell(alice, x(1), 1)
    expect(arrivals).toHaveLength(1)
    const [own] = positionOf('alice')
    bob.gossip.enter(own === '0' ? '1' : '0')
    arrivals[0]!()
    await settle()
    expect(copyAt(bob, 'alice')).toBeUndefined()
    expect(bob.gossip.mix(x(3)).leftOut).toEqual([])
  })

  it('gives up an author that cannot be dialled after the time for opening', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    world.network.stall('bob', 'alice')
    await tell(alice, x(1), 1)
    await world.clock.advance(LIMITS.openTimeoutMs - 1)
    expect(bob.refusals).toEqual([])
    await world.clock.advance(1)
    expect(bob.refusals).toEqual([{ reason: 'unreachable', peer: 'alice' }])
  })

  it('serves what it follows: copy, announcement and the last payload, and itself first in the list', async () => {
    const world = createWorld()
    const [alice, bob] = await pair(world)
    expect(bob.gossip.holdings.announcements()).toEqual([])
    expect(bob.gossip.holdings.copy('bob')).toBeUndefined()
    await tell(alice, x(1), 1)
    await tell(bob, x(2), 1)
    const { holdings } = bob.gossip
    expect(holdings.announcements()).toEqual([
      holdings.copy('bob')!.announcement,
      holdings.copy('alice')!.announcement,
    ])
    expect(holdings.copy('alice')).toEqual(alice.gossip.holdings.copy('alice'))
    for (const payload of [...alice.states, ...bob.states].map((state) => payloadOf(state.payload)))
      expect(holdings.payload(payload.hash)).toEqual(payload)
    expect(holdings.payload(new Uint8Array(32))).toBeUndefined()
    expect(holdings.copy('carol')).toBeUndefined()
  })
})

describe('when the author cannot be reached', () => {
  /** Alice and Carol are cut off from each other; Bob follows Alice, and Carol knows Bob. */
  async function cutOff() {
    const world = createWorld()
    const [alice, bob, carol] = [
      await startPeer(world, 'alice'),
      await startPeer(world, 'bob'),
      await startPeer(world, 'carol'),
    ]
    await meet(world, alice, bob)
    await meet(world, bob, carol)
    world.network.cut('alice', 'carol')
    return { world, alice, bob, carol }
  }

  it('a gap is healed with the copy of another follower', async () => {
    const { world, alice, carol } = await cutOff()
    await tellWithout(world, ['carol'], alice, [1, 2, 3])
    await hears(world, carol, alice)
    expect(copyAt(carol, 'alice')).toBe(told(alice))
  })

  it('a delta is taken from another follower too', async () => {
    const { world, alice, carol } = await cutOff()
    await tellWithout(world, ['carol'], alice, [1])
    await hears(world, carol, alice)
    expect(copyAt(carol, 'alice')).toBe(told(alice))
  })

  it('a joiner finds the copy of one that has just begun, and is gone, at another follower', async () => {
    const { world, alice, carol } = await cutOff()
    world.pubsub.lost = (_, to) => to === 'carol'
    await alice.gossip.begin(x(1), 0)
    await settle()
    await world.clock.run(carol.gossip.catchUp('bob'))
    expect(copyAt(carol, 'alice')).toBe(told(alice, 0))
  })
})

describe('a donor that lies about a copy', () => {
  type Lie = (truth: {
    alice: Peer
    bob: Peer
    world: World
  }) => ReturnType<Holdings['copy']> | Promise<ReturnType<Holdings['copy']>>

  /** What a peer served at some time. */
  const stateOf = (peer: Peer, index: number) => ({
    announcement: decodeSigned(peer.states[index]!.announcement),
    bytes: copyBytes(peer.states[index]!.copy),
  })

  /** Carol missed Alice's first two deltas and cannot reach her. She asks Mallory first, then Bob, who is honest. */
  async function carolAsks(
    lie: Lie,
    { known = [], honest = true }: { known?: number[]; honest?: boolean } = {},
  ) {
    const world = createWorld()
    const served: { copy: ReturnType<Holdings['copy']> } = { copy: undefined }
    const alice = await startPeer(world, 'alice')
    const bob = await startPeer(world, 'bob')
    const carol = await startPeer(world, 'carol')
    await meet(world, alice, bob)
    await meet(world, alice, carol)
    for (const seed of known) await tell(alice, x(seed), seed)
    const mallory = await startPeer(world, 'mallory', { serving: () => ({ copy: () => served.copy }) })
    await meet(world, carol, mallory)
    if (honest) await meet(world, carol, bob)
    await tellWithout(world, ['carol', 'mallory'], alice, [11, 12])
    served.copy = await lie({ alice, bob, world })
    await tellWithout(world, ['carol', 'mallory'], alice, [13])
    world.network.cut('alice', 'carol')
    await hears(world, carol, alice)
    const refusals = (name: string) =>
      carol.refusals.filter(({ peer }) => peer === name).map(({ reason }) => reason)
    return {
      lies: refusals('mallory'),
      blamed: refusals('alice'),
      got: copyAt(carol, 'alice'),
      truth: told(alice),
      leftOut: carol.gossip.mix(x(3)).leftOut,
    }
  }

  it.each<[string, string, Lie]>([
    [
      'with the right announcement and wrong bytes',
      'hash',
      ({ alice }) => ({
        announcement: alice.gossip.holdings.copy('alice')!.announcement,
        bytes: copyBytes(x(5)),
      }),
    ],
    [
      'with one flipped bit',
      'hash',
      ({ alice }) => {
        const { announcement, bytes } = alice.gossip.holdings.copy('alice')!
        const flipped = bytes.slice()
        flipped[77]! ^= 1
        return { announcement, bytes: flipped }
      },
    ],
    [
      'with too few bytes',
      'length',
      ({ alice }) => {
        const { announcement, bytes } = alice.gossip.holdings.copy('alice')!
        return { announcement, bytes: bytes.subarray(4) }
      },
    ],
    [
      'with somebody else’s copy and announcement',
      'malformed',
      async ({ bob, world }) => {
        await tellWithout(world, ['carol'], bob, [6])
        return bob.gossip.holdings.copy('bob')
      },
    ],
    [
      'with an announcement that it signed itself',
      'malformed',
      async ({ world }) => {
        const announcement = announcementOf(world.manifest, 'alice', {
          sequence: 9,
          copyHash: copyHash(x(7)),
        })
        return {
          announcement: (await forge(announcement, hashSigner('mallory'))).signed,
          bytes: copyBytes(x(7)),
        }
      },
    ],
    ['by saying that there is none', 'refused', () => undefined],
  ])('%s is not believed, and the next donor is asked', async (_, reason, lie) => {
    const { lies, got, truth } = await carolAsks(lie)
    expect(lies).toEqual([reason])
    expect(got).toBe(truth)
  })

  it('is the one to blame, not the author', async () => {
    const { lies, blamed, got, leftOut } = await carolAsks(
      ({ alice }) => ({ announcement: stateOf(alice, 1).announcement, bytes: copyBytes(x(5)) }),
      { honest: false },
    )
    expect(got).toBeUndefined()
    expect(lies).toEqual(['hash'])
    expect(new Set(blamed)).toEqual(new Set(['unreachable']))
    expect(leftOut).toEqual([{ peer: 'alice', reason: 'unreachable' }])
  })

  it('with a stale copy that we have already does not keep us from the newest', async () => {
    const { got, truth } = await carolAsks(({ alice }) => stateOf(alice, 0), { known: [1] })
    expect(got).toBe(truth)
  })

  it('with a stale copy that is news to us does not keep us from the newest', async () => {
    const { got, truth } = await carolAsks(({ alice }) => stateOf(alice, 1))
    expect(got).toBe(truth)
  })
})

describe('an author that is not mixed with', () => {
  const nothing = { copy: () => undefined }
  const finite = copyBytes(x(1))
  /** Mallory announces a payload and serves another answer than that. */
  async function lied(
    world: World,
    fields: { payloadHash?: Uint8Array },
    payload = finite,
    pieces?: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<Peer> {
    const { peer, announce } = await forger(world, 'author', payload, nothing)
    const bob = await startPeer(world, 'bob')
    await meet(world, peer, bob)
    if (pieces !== undefined) {
      await answerWith(world.network, 'author', PROTOCOLS.payload, pieces)
      await answerWith(world.network, 'author', PROTOCOLS.copy, pieces)
    }
    await announce(fields)
    await world.clock.advance(2 * LIMITS.progressTimeoutMs)
    return bob
  }
  const honest = async (world: World) => (await startPeers(world, ['author', 'bob'])) as [Peer, Peer]

  /** How it comes to each; Bob is asked. */
  const stories: Record<LeftOutReason, (world: World) => Promise<Peer>> = {
    async stale(world) {
      const [author, bob] = await honest(world)
      await tell(author, x(1), 1)
      for (let round = 0; round < 8; round++) bob.gossip.mix(x(2))
      return bob
    },
    async muted(world) {
      const [author, bob] = await honest(world)
      await tell(author, x(1), 1)
      return bob
    },
    async opposed(world) {
      const [author, bob] = await honest(world)
      const learnt = (sign: number) => world.initial.map((value, k) => value + sign * x(1)[k]!)
      await tell(author, learnt(-1), 1)
      await tell(bob, learnt(1), 1)
      return bob
    },
    async pending(world) {
      const [author, bob] = await honest(world)
      world.network.stall('author', 'bob')
      await tell(author, x(1), 1)
      return bob
    },
    async unreachable(world) {
      const [author, bob] = await honest(world)
      await tellWithout(world, ['bob'], author, [1])
      world.network.cut('author', 'bob')
      await hears(world, bob, author)
      return bob
    },
    async refused(world) {
      // They have not been introduced.
      const author = await startPeer(world, 'author')
      const bob = await startPeer(world, 'bob')
      await tell(author, x(1), 1)
      return bob
    },
    timeout: (world) => lied(world, {}, finite, () => andThenSilence()),
    malformed: (world) => lied(world, {}, finite, () => [frame(Uint8Array.of(0xff))]),
    hash: (world) => lied(world, { payloadHash: payloadOf(copyBytes(x(2))).hash }, copyBytes(x(2)).fill(7)),
    length(world) {
      const { proof } = payloadOf(finite)
      const header = PayloadAnswer.encode({ status: Status.OK, length: 252, proof })
      return lied(world, {}, finite, () => [frame(header)])
    },
    'non-finite': (world) => lied(world, {}, copyBytes(x(1).fill(NaN))),
  }

  it.each(Object.entries(stories))('is left out with the reason: %s', async (reason, happens) => {
    const bob = await happens(createWorld('float32', 64, true))
    const muted = new Set(reason === 'muted' ? ['author'] : [])
    expect(bob.gossip.mix(x(3), muted).leftOut).toEqual([{ peer: 'author', reason }])
  })
})

describe('a pull that breaks off', () => {
  it('goes on at another follower, which sends only what is missing', async () => {
    const world = createWorld('float32', 400_000)
    const large = randomVector(400_000, 1)
    const [alice, bob, carol] = (await startPeers(world, ['alice', 'bob', 'carol'])) as [Peer, Peer, Peer]
    world.pubsub.lost = (_, to) => to === 'carol'
    await tell(alice, large, 1)
    await world.clock.advance(1000)
    expect(copyAt(bob, 'alice')).toBe(told(alice))
    world.pubsub.lost = () => false
    // Alice sends four of seven chunks and dies.
    const { bytes, proof } = payloadOf(alice.states[0]!.payload)
    const header = PayloadAnswer.encode({ status: Status.OK, length: bytes.byteLength, proof })
    const sent = 4 * LIMITS.frameBytes
    const chunks = [0, 1, 2, 3].map((i) => bytes.subarray(i * LIMITS.frameBytes, (i + 1) * LIMITS.frameBytes))
    await answerWith(world.network, 'alice', PROTOCOLS.payload, () => [header, ...chunks].map(frame))
    const asked: number[] = []
    await world.network.wire('bob').handle(PROTOCOLS.payload, (stream) =>
      reply(stream, world.clock, LIMITS.requestBytes, (request) => {
        const { offset } = PayloadRequest.decode(request)
        asked.push(offset)
        const body = bytes.subarray(offset)
        return { header: PayloadAnswer.encode({ status: Status.OK, length: body.byteLength, proof }), body }
      }),
    )
    await hears(world, carol, alice)
    expect(copyAt(carol, 'alice')).toBe(told(alice))
    expect(asked).toEqual([sent])
  })
})
