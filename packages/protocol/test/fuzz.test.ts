import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { decodeSigned, encodeSigned, readAnnouncement } from '../src/announcement.ts'
import { AVERAGE_PROTOCOL, createAveraging } from '../src/averaging.ts'
import { type CodecChoice, codecOf } from '../src/codec/codec.ts'
import { isProtocolError } from '../src/errors.ts'
import { type Exchange, PROTOCOLS } from '../src/exchange.ts'
import { type RefusalReason, reasonOf } from '../src/gossip.ts'
import { LIMITS } from '../src/limits.ts'
import { decodeManifest, encodeManifest } from '../src/manifest.ts'
import { norm } from '../src/mixing.ts'
import { decodeOwnState, encodeOwnState } from '../src/own-state.ts'
import {
  AverageDone,
  AverageHeader,
  CopyAnswer,
  CopyRequest,
  Hello,
  PayloadAnswer,
  PayloadRequest,
  PeersAnswer,
  PeersRequest,
  Status,
} from '../src/pb/messages.ts'
import { payloadOf } from '../src/payload.ts'
import { Reputation } from '../src/reputation.ts'
import type { Random } from '../src/wire.ts'
import { fetchPayload, type Party, startParty } from './support/exchanges.ts'
import { announcementOf, federationBytes, forge, MANIFEST, sha256 } from './support/federation.ts'
import { answerWith, frame } from './support/hostile.ts'
import { MemoryNetwork } from './support/memory-network.ts'
import { randomBytes, randomVector, seeded } from './support/random.ts'
import { hashSigner } from './support/signers.ts'
import { VirtualClock } from './support/virtual-clock.ts'
import { createWorld, startPeer } from './support/world.ts'

/** A little in every run of the tests; `npm run fuzz` asks for a million frames a decoder and 10,000 streams a handler. */
const FRAMES = Number(process.env['FUZZ_FRAMES'] ?? 2000)
const STREAMS = Number(process.env['FUZZ_STREAMS'] ?? 2000)
/** Other frames on every day that one likes; a failure is repeated with the seed that it was found with. */
const SEED = Number(process.env['FUZZ_SEED'] ?? 0)

type Mutation = (bytes: Uint8Array, random: Random) => Uint8Array

const at = (bytes: Uint8Array, random: Random) => Math.floor(random() * bytes.byteLength)

const MUTATIONS: readonly Mutation[] = [
  function flip(bytes, random) {
    const changed = bytes.slice()
    for (let i = 0; i < 1 + 4 * random() && bytes.byteLength > 0; i++)
      changed[at(bytes, random)]! ^= 1 << (8 * random())
    return changed
  },
  function cut(bytes, random) {
    return bytes.subarray(0, at(bytes, random))
  },
  function insert(bytes, random) {
    const middle = at(bytes, random)
    return new Uint8Array([
      ...bytes.subarray(0, middle),
      ...randomBytes(20 * random(), random),
      ...bytes.subarray(middle),
    ])
  },
  function repeat(bytes, random) {
    const from = at(bytes, random)
    return new Uint8Array([...bytes, ...bytes.subarray(from, from + 40)])
  },
  function nest(_, random) {
    return new Uint8Array(1 + Math.floor(400 * random())).fill(Math.floor(256 * random()))
  },
  function invent(_, random) {
    return randomBytes(300 * random(), random)
  },
]

/** Frames that are like the valid ones, and others that are like nothing. */
function* fuzzed(valid: readonly Uint8Array[], seed: number, count: number): Generator<Uint8Array> {
  const random = seeded(SEED + seed)
  for (let i = 0; i < count; i++) {
    const original = valid[i % valid.length]!
    yield MUTATIONS[Math.floor(random() * MUTATIONS.length)]!(original, random)
  }
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** What is alive, in bytes. */
function alive(): number {
  collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

/**
 * More than what compiled code and caches take; a million frames that each leave eight bytes behind are above it, and ten
 * thousand streams that each leave a kilobyte.
 */
const GROWTH_BYTES = 8e6

/** Whether something leaves nothing behind. */
async function leavesNothing(run: () => Promise<void>): Promise<boolean> {
  const before = alive()
  await run()
  return alive() - before < GROWTH_BYTES
}

/** What the decoder throws that is not a ProtocolError, each kind once; and whether memory grew. */
function foreignErrors(
  decode: (bytes: Uint8Array) => unknown,
  valid: readonly Uint8Array[],
  seed: number,
): string[] {
  const before = alive()
  const found = new Set<string>()
  for (const bytes of fuzzed(valid, seed, FRAMES)) {
    try {
      decode(bytes)
    } catch (error) {
      if (!isProtocolError(error)) found.add(String(error))
    }
  }
  return alive() - before < GROWTH_BYTES ? [...found] : [...found, 'memory grew']
}

const RULES = { federation: federationBytes(MANIFEST), maxPayloadBytes: 1000 }
const { data: DATA, signed: SIGNED } = await forge(
  announcementOf(MANIFEST, 'alice', { perplexity: 33 }),
  hashSigner('alice'),
)

describe('hostile frames', () => {
  it('get nothing but ProtocolErrors from the decoder of announcements', () => {
    expect(foreignErrors((bytes) => readAnnouncement(decodeSigned(bytes), RULES), [DATA], 1)).toEqual([])
    const read = (body: Uint8Array) => readAnnouncement({ ...SIGNED, body }, RULES)
    expect(foreignErrors(read, [SIGNED.body], 2)).toEqual([])
  })

  it('get nothing but ProtocolErrors from the decoder of manifests', () => {
    expect(foreignErrors(decodeManifest, [encodeManifest(MANIFEST)], 3)).toEqual([])
  })

  it('get nothing but ProtocolErrors from the decoder of stored states', () => {
    const state = {
      epoch: 1,
      sequence: 2,
      round: 3,
      copy: randomVector(8, 1),
      announcement: DATA,
      payload: DATA,
    }
    expect(foreignErrors((bytes) => decodeOwnState(bytes, 8), [encodeOwnState(state)], 4)).toEqual([])
  })

  it.each<[string, CodecChoice]>([
    ['float32', { values: 'float32' }],
    ['float16', { values: 'float16' }],
    ['int8', { values: 'int8' }],
    ['int4', { values: 'int4' }],
    ['top-k int8', { values: 'int8', topK: 0.1 }],
    ['top-k int4', { values: 'int4', topK: 0.02 }],
    ['top-k float16', { values: 'float16', topK: 0.1 }],
    ['top-k float32', { values: 'float32', topK: 0.5 }],
  ])('get nothing but ProtocolErrors from the codec %s', (_, choice) => {
    const codec = codecOf(choice)
    const valid = codec.encode(randomVector(300, 1), seeded(1))
    // As long as a payload has to be, or only lengths would be tested.
    const fitted = (bytes: Uint8Array) => {
      const whole = new Uint8Array(valid.byteLength)
      whole.set(bytes.subarray(0, whole.byteLength))
      return codec.decode(whole, 300)
    }
    expect(foreignErrors((bytes) => codec.decode(bytes, 300), [valid], 5)).toEqual([])
    expect(foreignErrors(fitted, [valid], 10)).toEqual([])
  })

  it('get a verdict each from gossip, which follows nobody for it', async () => {
    const world = createWorld()
    const bob = await startPeer(world, 'bob')
    const verdicts = new Set<string>()
    const { data } = await forge(announcementOf(world.manifest, 'alice'), hashSigner('mallory'))
    for (const bytes of fuzzed([data], 6, FRAMES))
      verdicts.add(await world.pubsub.judge(world.topic, bytes, 'alice', 'bob'))
    expect([...verdicts].sort()).toEqual(['ignore', 'reject'])
    expect(bob.gossip.neighbours()).toEqual([])
  })
})

const ADDRESS = '/ip4/127.0.0.1/tcp/4001'
const BYTES = randomBytes(100, seeded(1))
const PAYLOAD = payloadOf(BYTES)
const GREETING = Hello.encode({ version: 1, manifest: encodeManifest(MANIFEST), addresses: [ADDRESS] })

/** What the tests' own instruments have written down. */
function forget(network: MemoryNetwork, ...parties: readonly Party[]): void {
  network.handlerErrors.length = 0
  for (const { admitted, refused, traffic, offences } of parties)
    for (const list of [admitted, refused, traffic, offences]) list.length = 0
}

describe('hostile requests', () => {
  it.each([
    ['hello', GREETING],
    ['payload', PayloadRequest.encode({ hash: new Uint8Array(32), offset: 5, length: 100 })],
    ['copy', CopyRequest.encode({ author: 'alice' })],
    ['peers', PeersRequest.encode({ count: 7, near: '0110', outside: true })],
  ] as const)('leave %s answering, and nothing behind', async (kind, valid) => {
    const network = new MemoryNetwork()
    const clock = new VirtualClock()
    const bob = await startParty(network, clock, 'bob', {
      holdings: { payload: () => PAYLOAD, copy: () => ({ announcement: SIGNED, bytes: BYTES }) },
    })
    const alice = await startParty(network, clock, 'alice')
    await clock.run(alice.exchange.hello('bob'))
    const wire = network.wire('alice')
    const reputation = new Reputation(clock)
    let framed = true
    const flood = async () => {
      for (const bytes of fuzzed([valid], 7, STREAMS)) {
        const stream = await wire.open('bob', PROTOCOLS[kind])
        // Every other as a frame: hostile messages, and hostile framing.
        await stream.sink([framed ? frame(bytes) : bytes])
        framed = !framed
        // As fast as bob answers anyone.
        await clock.advance(LIMITS.requestIntervalMs)
        for (const { peer, reason } of bob.offences.splice(0)) reputation.blame(peer, reason)
        forget(network, alice, bob)
      }
    }
    expect(await leavesNothing(flood)).toBe(true)
    expect(reputation.isCutOff('alice')).toBe(true)
    expect(clock.sleeping).toBe(0)
    expect((await clock.run(alice.exchange.fetchCopy('bob', 'alice', 100))).bytes).toEqual(BYTES)
    expect(bob.exchange.admitted()).toEqual(['alice'])
  })
})

describe('hostile answers', () => {
  it.each<[string, keyof typeof PROTOCOLS, Uint8Array, (exchange: Exchange) => Promise<unknown>]>([
    ['hello', 'hello', GREETING, (exchange) => exchange.hello('bob')],
    [
      'payloads',
      'payload',
      PayloadAnswer.encode({ status: Status.OK, length: 100, proof: PAYLOAD.proof }),
      (exchange) => fetchPayload(exchange, 'bob', { hash: PAYLOAD.hash, length: 100 }),
    ],
    [
      'copies',
      'copy',
      CopyAnswer.encode({ status: Status.OK, length: 100, announcements: [SIGNED] }),
      (exchange) => exchange.fetchCopy('bob', 'alice', 100),
    ],
    [
      'lists of copies',
      'copy',
      CopyAnswer.encode({ status: Status.OK, length: 0, announcements: [SIGNED, SIGNED] }),
      (exchange) => exchange.listCopies('bob'),
    ],
    [
      'peers',
      'peers',
      PeersAnswer.encode({ peers: [{ peer: 'carol', addresses: [ADDRESS], ageSeconds: 3 }] }),
      (exchange) => exchange.fetchPeers('bob', { count: 3, near: '01', outside: false }),
    ],
  ])(
    'about %s get nothing but ProtocolErrors, and the sender is cut off',
    async (_, protocol, header, asking) => {
      const network = new MemoryNetwork()
      const clock = new VirtualClock()
      const alice = await startParty(network, clock, 'alice')
      const reputation = new Reputation(clock)
      const foreign = new Set<string>()
      // Whole streams: header, a body of 100 bytes where one is promised, and their framing.
      const stream = new Uint8Array([...frame(header), ...frame(BYTES)])
      const framed = [...fuzzed([header], 8, STREAMS / 2)].map((bytes) => [frame(bytes), frame(BYTES)])
      const raw = [...fuzzed([stream], 9, STREAMS / 2)].map((bytes) => [bytes])
      const flood = async () => {
        for (const pieces of [...framed, ...raw]) {
          await answerWith(network, 'bob', PROTOCOLS[protocol], () => pieces)
          await clock.run(asking(alice.exchange)).catch((error: unknown) => {
            if (isProtocolError(error)) reputation.blame('bob', reasonOf(error))
            else foreign.add(String(error))
          })
          forget(network, alice)
        }
      }
      expect(await leavesNothing(flood)).toBe(true)
      expect([...foreign]).toEqual([])
      expect(reputation.isCutOff('bob')).toBe(true)
      expect(clock.sleeping).toBe(0)
    },
  )

  it('with nested groups as deep as an answer may be are no different', async () => {
    const network = new MemoryNetwork()
    const clock = new VirtualClock()
    const { exchange } = await startParty(network, clock, 'alice')
    await answerWith(network, 'bob', PROTOCOLS.peers, () => [
      frame(new Uint8Array(LIMITS.answerBytes).fill(0x1b)),
    ])
    await expect(
      clock.run(exchange.fetchPeers('bob', { count: 3, near: '01', outside: false })),
    ).rejects.toSatisfy(isProtocolError)
  })

  it('are no different from valid ones in this: those get through', async () => {
    const network = new MemoryNetwork()
    const clock = new VirtualClock()
    const { exchange } = await startParty(network, clock, 'alice')
    await answerWith(network, 'bob', PROTOCOLS.hello, () => [frame(GREETING)])
    expect(await clock.run(exchange.hello('bob'))).toEqual(MANIFEST)
    expect(encodeSigned(decodeSigned(DATA))).toEqual(DATA)
  })
})

describe('hostile averaging', () => {
  const COUNT = 300
  const codec = codecOf({ values: 'float16' }) // rounds to nearest, so that what each side has to say is known beforehand
  const written = (vector: Float32Array) => codec.encode(vector, () => 0)
  const [own, theirs] = [randomVector(COUNT, 1), written(randomVector(COUNT, 2))]
  const difference = written(own.map((value, k) => value - codec.decode(theirs, COUNT)[k]!))
  /** What the other side of alice says: who asks her, and whom she asks. */
  const header = (payload: Uint8Array) =>
    AverageHeader.encode({ status: Status.OK, length: payload.byteLength, hash: sha256(payload), noise: 0 })
  const done = (payload: Uint8Array) => AverageDone.encode({ hash: sha256(payload) })
  const ready = AverageHeader.encode({ status: Status.OK, length: 0, hash: new Uint8Array(), noise: 0 })
  const SAID = {
    asks: [header(theirs), theirs, done(difference)],
    answers: [ready, header(theirs), theirs, done(written(own))],
  }

  async function setUp(role: keyof typeof SAID) {
    const network = new MemoryNetwork()
    const clock = new VirtualClock()
    const refusals: { reason: RefusalReason; detail: string }[] = []
    const alice = createAveraging({
      initial: new Float32Array(COUNT),
      codec,
      differenceCodec: codec,
      wire: network.wire('alice'),
      clock,
      random: seeded(3),
      robust: true,
      isAdmitted: () => true,
      outsiders: () => (role === 'answers' ? ['mallory'] : []),
      events: {
        onTraffic: () => undefined,
        onRefusal: (reason, _, detail) => refusals.push({ reason, detail }),
      },
    })
    await alice.start()
    /** A round of alice's in which mallory says these pieces. */
    const round = async (pieces: readonly Uint8Array[]) => {
      if (role === 'answers') await answerWith(network, 'mallory', AVERAGE_PROTOCOL, () => pieces)
      alice.offer(own)
      const stream =
        role === 'asks' ? await network.wire('mallory').open('alice', AVERAGE_PROTOCOL) : undefined
      await stream?.sink(pieces)
      await clock.advance(1000)
      network.handlerErrors.length = 0
      return alice.take()
    }
    return { clock, refusals, round }
  }

  it.each(['asks', 'answers'] as const)(
    'that %s moves nobody, leaves nothing, and is cut off',
    async (role) => {
      const { clock, refusals, round } = await setUp(role)
      const reputation = new Reputation(clock)
      const said = SAID[role]
      const whole = new Uint8Array(Buffer.concat(said.map(frame)))
      const framed = said.map((valid, which) => [...fuzzed([valid], 11 + which, STREAMS / 2 / said.length)])
      const streams = [
        ...framed.flatMap((all, which) => all.map((bytes) => said.with(which, bytes).map(frame))),
        ...[...fuzzed([whole], 20, STREAMS / 2)].map((bytes) => [bytes]),
      ]
      const broken = new Set<string>()
      const lengths = new Set<number>()
      const flood = async () => {
        for (const pieces of streams) {
          for (const { increment } of await round(pieces)) lengths.add(norm(increment))
          for (const { reason, detail } of refusals.splice(0)) {
            reputation.blame('mallory', reason)
            if (reason === 'unreachable') broken.add(detail)
          }
        }
      }
      expect(await leavesNothing(flood)).toBe(true)
      // How a stream looks that ends too early, and nothing of our own.
      const early = (how: string) => `mallory cannot be reached (protocol failed): ${how}`
      expect([...broken].sort()).toEqual(
        [early('the stream ended before all was said'), early('Unexpected end of input')].sort(),
      )
      // A few are as good as the valid one, or better: what follows is not read. None of them moves us further than that.
      expect(Math.max(...lengths)).toBeLessThanOrEqual(norm(own))
      expect(reputation.isCutOff('mallory')).toBe(true)
      expect(clock.sleeping).toBe(0)
      expect(await round(said.map(frame))).toHaveLength(1)
    },
  )
})
