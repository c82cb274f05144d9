import { describe, expect, it } from 'vitest'
import type { SignedAnnouncement } from '../src/announcement.ts'
import { type Exchange, type Holdings, type PeersWanted, PROTOCOLS } from '../src/exchange.ts'
import { LIMITS } from '../src/limits.ts'
import { encodeManifest, type Manifest } from '../src/manifest.ts'
import {
  CopyAnswer,
  Hello,
  PayloadAnswer,
  PayloadRequest,
  PeersAnswer,
  PeersRequest,
  Status,
} from '../src/pb/messages.ts'
import { PartialPayload, payloadOf } from '../src/payload.ts'
import { ask } from '../src/stream.ts'
import { rejection } from './support/check.ts'
import { fetchPayload, type PartyOptions, startParty } from './support/exchanges.ts'
import { MANIFEST } from './support/federation.ts'
import { answerWith, frame } from './support/hostile.ts'
import { MemoryNetwork } from './support/memory-network.ts'
import { randomBytes, seeded } from './support/random.ts'
import { settle, VirtualClock } from './support/virtual-clock.ts'

const BYTES = randomBytes(1000, seeded(1))
const PAYLOAD = payloadOf(BYTES)
const HASH = PAYLOAD.hash
const WANTED = { hash: HASH, length: 1000 }
const SIGNED: SignedAnnouncement = { body: Uint8Array.of(1, 2), signature: Uint8Array.of(3, 4) }

const HOLDINGS: Partial<Holdings> = {
  payload: (hash) => (Buffer.from(hash).equals(HASH) ? PAYLOAD : undefined),
  copy: (author) => (author === 'author' ? { announcement: SIGNED, bytes: BYTES } : undefined),
  announcements: () => [SIGNED],
  peers: () => [{ peer: 'friend', addresses: ['/memory/friend'], ageSeconds: 0 }],
}

const wanted = (count: number): PeersWanted => ({ count, near: '0110', outside: false })

const other: Manifest = { ...MANIFEST, lora: { rank: 4, alpha: 16 } }
/** Whose payloads have several chunks. */
const LARGE: Manifest = { ...MANIFEST, parameters: 1_000_000 }
const LARGE_BOTH = { alice: { manifest: LARGE }, bob: { manifest: LARGE } }

/** Alice, who holds nothing, and Bob, who holds something. */
async function two({
  alice: ours = {},
  bob: theirs = {},
}: { alice?: PartyOptions; bob?: PartyOptions } = {}) {
  const network = new MemoryNetwork()
  const clock = new VirtualClock()
  const alice = await startParty(network, clock, 'alice', ours)
  const bob = await startParty(network, clock, 'bob', { holdings: HOLDINGS, ...theirs })
  return { network, clock, alice, bob, hello: () => clock.run(alice.exchange.hello('bob')) }
}

/** The same after they have met. */
async function introduced(options?: Parameters<typeof two>[0]) {
  const both = await two(options)
  await both.hello()
  return both
}

/** Alice, and a Bob who answers one protocol with this message. */
async function answered(protocol: keyof typeof PROTOCOLS, ...pieces: readonly Uint8Array[]) {
  const both = await two()
  await answerWith(both.network, 'bob', PROTOCOLS[protocol], () => pieces.map(frame))
  return both
}

const hello = (manifest: Uint8Array, addresses: string[] = []) =>
  Hello.encode({ version: 1, manifest, addresses })
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

describe('hello', () => {
  it('admits both of the same federation to each other, with their addresses', async () => {
    const { alice, bob, hello } = await two()
    expect(await hello()).toEqual(MANIFEST)
    expect(alice.admitted).toEqual([{ peer: 'bob', addresses: ['/memory/bob'] }])
    expect(bob.admitted).toEqual([{ peer: 'alice', addresses: ['/memory/alice'] }])
    expect([alice.exchange.admitted(), bob.exchange.admitted()]).toEqual([['bob'], ['alice']])
  })

  it('names the field that differs, on both sides, and admits neither', async () => {
    const { alice, bob, hello } = await two({ bob: { manifest: other } })
    expect(await rejection(hello())).toEqual({
      code: 'MANIFEST_MISMATCH',
      field: 'lora.rank',
      ours: '8',
      theirs: '4',
    })
    expect(alice.refused.map(({ peer, error }) => ({ peer, ...error.detail }))).toEqual([
      { peer: 'bob', code: 'MANIFEST_MISMATCH', field: 'lora.rank', ours: '8', theirs: '4' },
    ])
    expect(bob.refused.map(({ peer, error }) => ({ peer, ...error.detail }))).toEqual([
      { peer: 'alice', code: 'MANIFEST_MISMATCH', field: 'lora.rank', ours: '4', theirs: '8' },
    ])
    expect([...alice.admitted, ...bob.admitted]).toEqual([])
  })

  it('names a field of a newer version, which it does not know', async () => {
    const { hello } = await two({ bob: { manifest: { ...MANIFEST, privacy: { noise: 1 } } as Manifest } })
    expect(await rejection(hello())).toMatchObject({
      code: 'MANIFEST_MISMATCH',
      field: 'privacy',
      ours: 'absent',
    })
  })

  it.each([
    ['a peer', encodeManifest(MANIFEST)],
    ['a joiner', new Uint8Array()],
  ])('names the version of %s that differs, whatever else it says', async (_, manifest) => {
    const { network, clock, alice, bob } = await two()
    const newer = Hello.encode({ version: 2, manifest, addresses: [] })
    const { header } = await clock.run(
      ask(network.wire('carol'), clock, 'bob', '/comigs/hello', newer, { bodyBytes: () => 0 }),
    )
    // The other side gets to know our version, and can say the same.
    expect(Hello.decode(header).version).toBe(1)
    await answerWith(network, 'bob', '/comigs/hello', () => [frame(newer)])
    const detail = { code: 'MANIFEST_MISMATCH', field: 'comigs', ours: '1', theirs: '2' }
    expect(await clock.run(rejection(alice.exchange.hello('bob')))).toEqual(detail)
    expect(bob.refused.map(({ error }) => error.detail)).toEqual([detail])
    expect([...alice.admitted, ...bob.admitted]).toEqual([])
  })

  it('tells how far the clock of the other is ahead, half-way between question and answer', async () => {
    const { network, clock, alice } = await two()
    const late = async function* () {
      await clock.sleep(400)
      const time = clock.now() + 5000
      yield frame(Hello.encode({ version: 1, manifest: encodeManifest(MANIFEST), addresses: [], time }))
    }
    await answerWith(network, 'bob', PROTOCOLS.hello, late)
    expect(alice.exchange.skewMs('bob')).toBe(undefined)
    await clock.run(alice.exchange.hello('bob'))
    expect(alice.exchange.skewMs('bob')).toBe(5200)
    alice.exchange.forget('bob')
    expect(alice.exchange.skewMs('bob')).toBe(undefined)
  })

  it('knows nothing of the clock of a peer that does not tell', async () => {
    const { clock, alice } = await answered('hello', hello(encodeManifest(MANIFEST)))
    await clock.run(alice.exchange.hello('bob'))
    expect(alice.exchange.skewMs('bob')).toBe(undefined)
  })

  it('gives a joiner the manifest, without admitting it', async () => {
    const { alice, bob, hello } = await two({ alice: { manifest: null } })
    expect(await hello()).toEqual(MANIFEST)
    expect([...alice.admitted, ...bob.admitted]).toEqual([])
    expect([...alice.refused, ...bob.refused]).toEqual([])
  })

  it('does not mind that the other is a joiner', async () => {
    const { alice, bob, hello } = await two({ bob: { manifest: null } })
    expect(await hello()).toEqual(MANIFEST)
    expect([...alice.admitted, ...bob.admitted]).toEqual([])
  })

  it('between two joiners fails: neither has a manifest', async () => {
    const { hello } = await two({ alice: { manifest: null }, bob: { manifest: null } })
    expect((await rejection(hello())).code).toBe('MANIFEST_INVALID')
  })

  it('gives a joiner no manifest that is not valid', async () => {
    const { network, clock } = await answered('hello', hello(json({ ...MANIFEST, seed: -1 })))
    const joiner = await startParty(network, clock, 'joiner', { manifest: null })
    expect(await rejection(clock.run(joiner.exchange.hello('bob')))).toMatchObject({
      code: 'MANIFEST_INVALID',
      field: 'seed',
    })
  })

  it.each([
    ['what is no message', Uint8Array.of(0xff), 'MESSAGE_MALFORMED'],
    ['what is no JSON', hello(Uint8Array.of(1, 2)), 'MANIFEST_INVALID'],
    ['null', hello(json(null)), 'MANIFEST_MISMATCH'],
    ['an empty object', hello(json({})), 'MANIFEST_MISMATCH'],
    [
      'a field nested deeper than a stack',
      hello(new TextEncoder().encode(`{"base":${'['.repeat(15_000)}${']'.repeat(15_000)}}`)),
      'MANIFEST_MISMATCH',
    ],
  ])('fails with a code when it is answered with %s', async (_, answer, code) => {
    const { alice, clock } = await answered('hello', answer)
    expect((await rejection(clock.run(alice.exchange.hello('bob')))).code).toBe(code)
    expect(alice.admitted).toEqual([])
  })

  it('takes and gives a bounded number of addresses of bounded length', async () => {
    const many = Array.from({ length: 50 }, (_, i) => `/memory/${i}`)
    const { bob, network, clock } = await introduced({ alice: { addresses: many } })
    expect(bob.admitted[0]!.addresses).toEqual(many.slice(0, LIMITS.exchangedAddresses))

    // Whoever does not keep to it.
    const long = `/memory/${'x'.repeat(LIMITS.addressBytes)}`
    const greeting = hello(encodeManifest(MANIFEST), [long, ...many])
    await ask(network.wire('carol'), clock, 'bob', PROTOCOLS.hello, greeting, { bodyBytes: () => 0 })
    expect(bob.admitted[1]!.addresses).not.toContain(long)
    expect(bob.admitted[1]!.addresses.length).toBeLessThanOrEqual(LIMITS.exchangedAddresses)
  })

  it('is repeated without harm, and a peer is forgotten on request', async () => {
    const { alice, clock } = await introduced()
    await clock.run(alice.exchange.hello('bob'))
    expect(alice.exchange.admitted()).toEqual(['bob'])
    alice.exchange.forget('bob')
    expect(alice.exchange.admitted()).toEqual([])
  })
})

describe('a peer that was not admitted', () => {
  const strangers = {
    'has not said hello': () => two(),
    'is of another federation': async () => {
      const both = await two({ bob: { manifest: other } })
      await rejection(both.hello())
      return both
    },
    'has no manifest yet': () => introduced({ alice: { manifest: null } }),
    'was forgotten': async () => {
      const both = await introduced()
      both.bob.exchange.forget('alice')
      return both
    },
  }

  it.each(Object.entries(strangers))('because it %s gets nothing', async (_, meet) => {
    const { alice, clock } = await meet()
    const refused = { code: 'PEER_REFUSED', peer: 'bob', status: 'WRONG_FEDERATION' }
    const { exchange } = alice
    expect(await rejection(clock.run(fetchPayload(exchange, 'bob', WANTED)))).toMatchObject(refused)
    expect(await rejection(clock.run(exchange.fetchCopy('bob', 'author', BYTES.length)))).toMatchObject(
      refused,
    )
    expect(await rejection(clock.run(exchange.listCopies('bob')))).toMatchObject(refused)
    expect(await clock.run(exchange.fetchPeers('bob', wanted(5)))).toEqual([])
  })
})

describe('a payload', () => {
  /** Asks by hand, for what our own code never asks for. */
  const asked = ({ network, clock }: Awaited<ReturnType<typeof two>>, request: Uint8Array, length: number) =>
    clock.run(
      ask(network.wire('alice'), clock, 'bob', PROTOCOLS.payload, request, { bodyBytes: () => length }),
    )
  const statusOf = async (both: Awaited<ReturnType<typeof two>>, request: Uint8Array) =>
    PayloadAnswer.decode((await asked(both, request, 0)).header).status

  it('arrives', async () => {
    const { alice, clock } = await introduced()
    expect(await clock.run(fetchPayload(alice.exchange, 'bob', WANTED))).toEqual(PAYLOAD)
  })

  it('arrives whole when it is several frames long', async () => {
    const large = randomBytes(3 * LIMITS.frameBytes + 17, seeded(2))
    const { alice, clock } = await introduced({
      alice: { manifest: LARGE },
      bob: { manifest: LARGE, holdings: { payload: () => payloadOf(large) } },
    })
    const wanted = { hash: payloadOf(large).hash, length: large.length }
    const { bytes } = await clock.run(fetchPayload(alice.exchange, 'bob', wanted))
    expect(Buffer.from(bytes).equals(large)).toBe(true)
  })

  it('is refused when it is not held', async () => {
    const { alice, clock } = await introduced()
    const fetching = fetchPayload(alice.exchange, 'bob', { hash: new Uint8Array(32), length: 1000 })
    expect(await rejection(clock.run(fetching))).toEqual({
      code: 'PEER_REFUSED',
      peer: 'bob',
      what: 'a payload',
      status: 'NOT_FOUND',
    })
  })

  const lie = BYTES.slice()
  lie[500]! ^= 1

  it.each([
    ['another hash', payloadOf(lie)],
    ['another chunk than it proves', { ...PAYLOAD, bytes: lie }],
    ['no proof', { ...PAYLOAD, proof: new Uint8Array() }],
    ['a proof of more chunks', { ...PAYLOAD, proof: new Uint8Array(64) }],
  ])('is not believed with %s', async (_, served) => {
    const { alice, clock } = await introduced({ bob: { holdings: { payload: () => served } } })
    expect(await rejection(clock.run(fetchPayload(alice.exchange, 'bob', WANTED)))).toMatchObject({
      code: 'PAYLOAD_WRONG_HASH',
      peer: 'bob',
    })
  })

  it('is not read with another length, however many gigabytes are promised', async () => {
    const answer = PayloadAnswer.encode({ status: Status.OK, length: 0xffffffff, proof: PAYLOAD.proof })
    const { alice, clock } = await answered('payload', answer)
    expect(await rejection(clock.run(fetchPayload(alice.exchange, 'bob', WANTED)))).toEqual({
      code: 'PAYLOAD_WRONG_LENGTH',
      peer: 'bob',
      expected: 1000,
      actual: 0xffffffff,
    })
  })

  it('can be asked for from an offset', async () => {
    const both = await introduced()
    const { header, body } = await asked(both, PayloadRequest.encode({ ...WANTED, offset: 400 }), 600)
    expect(PayloadAnswer.decode(header)).toEqual({ status: Status.OK, length: 600, proof: PAYLOAD.proof })
    expect(body).toEqual(BYTES.subarray(400))
  })

  it('has nothing at its end, and cannot be asked for from beyond it', async () => {
    const both = await introduced()
    const from = (offset: number) => statusOf(both, PayloadRequest.encode({ ...WANTED, offset }))
    expect(await from(1000)).toBe(Status.OK)
    expect(await from(1001)).toBe(Status.BAD_REQUEST)
    expect(await from(0xffffffff)).toBe(Status.BAD_REQUEST)
  })

  it('is not there for who expects another length: its author said two things, and nobody else is to blame', async () => {
    const both = await introduced()
    const request = PayloadRequest.encode({ hash: HASH, offset: 0, length: 999 })
    expect(await statusOf(both, request)).toBe(Status.NOT_FOUND)
  })

  it('is counted as traffic on both sides', async () => {
    const { alice, bob, clock } = await introduced()
    alice.traffic.length = bob.traffic.length = 0
    await clock.run(fetchPayload(alice.exchange, 'bob', WANTED))
    const request = PayloadRequest.encode({ ...WANTED, offset: 0 }).byteLength
    const { proof } = PAYLOAD
    const answer = PayloadAnswer.encode({ status: Status.OK, length: 1000, proof }).byteLength + 1000
    expect(alice.traffic).toEqual([`payload out ${request}`, `payload in ${answer}`])
    expect(bob.traffic).toEqual([`payload in ${request}`, `payload out ${answer}`])
  })
})

describe('a payload that breaks off', () => {
  const large = payloadOf(randomBytes(5 * LIMITS.frameBytes + 17, seeded(4)))
  const total = large.bytes.byteLength
  const chunks = (from: number) =>
    Array.from({ length: 6 - from }, (_, i) =>
      large.bytes.subarray((from + i) * LIMITS.frameBytes, (from + i + 1) * LIMITS.frameBytes),
    )
  const header = (length: number) =>
    frame(PayloadAnswer.encode({ status: Status.OK, length, proof: large.proof }))

  /** Bob sends these bytes and breaks off; Carol has the whole payload. */
  async function torn(pieces: readonly Uint8Array[]) {
    const network = new MemoryNetwork()
    const clock = new VirtualClock()
    const alice = await startParty(network, clock, 'alice', { manifest: LARGE })
    const asked: number[] = []
    const payload = () => {
      asked.push(partial.verified)
      return large
    }
    await startParty(network, clock, 'carol', { manifest: LARGE, holdings: { payload } })
    await clock.run(alice.exchange.hello('carol'))
    await answerWith(network, 'bob', PROTOCOLS.payload, () => [header(total), ...pieces.map(frame)])
    const partial = new PartialPayload(large.hash, total)
    const error = await rejection(clock.run(alice.exchange.fetchPayload('bob', partial)))
    return { alice, clock, partial, error, asked }
  }

  it('goes on at another peer with what is missing, and no byte comes twice', async () => {
    const { alice, clock, partial, error, asked } = await torn(chunks(0).slice(0, 3))
    expect(error).toMatchObject({ code: 'PEER_UNREACHABLE', peer: 'bob' })
    expect(partial.verified).toBe(3 * LIMITS.frameBytes)
    alice.traffic.length = 0
    await clock.run(alice.exchange.fetchPayload('carol', partial))
    expect(Buffer.from(partial.whole().bytes).equals(large.bytes)).toBe(true)
    expect(asked).toEqual([3 * LIMITS.frameBytes])
    const rest = total - 3 * LIMITS.frameBytes
    const answer = PayloadAnswer.encode({ status: Status.OK, length: rest, proof: large.proof })
    expect(alice.traffic[1]).toBe(`payload in ${answer.byteLength + rest}`)
  })

  it('keeps whole chunks only', async () => {
    const [first, second] = chunks(0)
    const { partial } = await torn([first!, second!.subarray(0, 1000)])
    expect(partial.verified).toBe(LIMITS.frameBytes)
  })

  it('takes chunks from frames of any size', async () => {
    const pieces = Array.from({ length: 50 }, (_, i) => large.bytes.subarray(i * 11_000, (i + 1) * 11_000))
    const { partial } = await torn(pieces)
    expect(partial.verified).toBe(Math.floor(550_000 / LIMITS.frameBytes) * LIMITS.frameBytes)
  })

  it('keeps what came before a wrong chunk, and blames its sender', async () => {
    const wrong = chunks(0).map((chunk) => chunk.slice())
    wrong[2]![5]! ^= 1
    const { alice, clock, partial, error } = await torn(wrong)
    expect(error).toMatchObject({ code: 'PAYLOAD_WRONG_HASH', peer: 'bob' })
    expect(partial.verified).toBe(2 * LIMITS.frameBytes)
    await clock.run(alice.exchange.fetchPayload('carol', partial))
    expect(Buffer.from(partial.whole().bytes).equals(large.bytes)).toBe(true)
  })
})

describe('uploads', () => {
  const large = randomBytes(8 * LIMITS.frameBytes, seeded(3))
  const held = payloadOf(large)
  const wholly = { hash: held.hash, length: large.length }

  /** Bob, with a large payload, and admitted peers who each hold so many streams of a kind open without reading. */
  async function busy(count: number, protocol: string, request: Uint8Array | undefined) {
    const both = await introduced({
      alice: { manifest: LARGE },
      bob: { manifest: LARGE, holdings: { payload: () => held } },
    })
    const { network, clock } = both
    const streams = []
    for (let i = 0; i < count; i++) {
      const name = `peer-${Math.floor(i / LIMITS.uploadsPerPeer)}`
      const wire = network.wire(name)
      const greeting = hello(encodeManifest(LARGE))
      await ask(wire, clock, 'bob', PROTOCOLS.hello, greeting, { bodyBytes: () => 0 })
      const stream = await wire.open('bob', protocol)
      if (request !== undefined) void stream.sink([frame(request)])
      streams.push(stream)
    }
    await settle()
    const fetch = async () => (await clock.run(fetchPayload(both.alice.exchange, 'bob', wholly))).bytes
    return { ...both, streams, fetch }
  }
  const wanted = PayloadRequest.encode({ ...wholly, offset: 0 })

  it('are as many as the limit, and then BUSY', async () => {
    const { fetch } = await busy(LIMITS.uploads, PROTOCOLS.payload, wanted)
    expect(await rejection(fetch())).toMatchObject({ code: 'PEER_REFUSED', status: 'BUSY' })
    expect(
      await busy(LIMITS.uploads - 1, PROTOCOLS.payload, wanted).then(({ fetch: again }) => again()),
    ).toHaveLength(large.length)
  })

  it('are at most three to one peer, who leaves places for others', async () => {
    const { network, clock, fetch } = await busy(LIMITS.uploadsPerPeer, PROTOCOLS.payload, wanted)
    const again = await clock.run(
      ask(network.wire('peer-0'), clock, 'bob', PROTOCOLS.payload, wanted, { bodyBytes: () => 0 }),
    )
    expect(PayloadAnswer.decode(again.header).status).toBe(Status.BUSY)
    expect(await fetch()).toHaveLength(large.length)
  })

  it('are possible again when one has gone', async () => {
    const { fetch, streams } = await busy(LIMITS.uploads, PROTOCOLS.payload, wanted)
    streams[0]!.abort(new Error('enough'))
    await settle()
    expect(await fetch()).toHaveLength(large.length)
  })

  it('are not taken up by those who only hold a stream open', async () => {
    const { fetch } = await busy(LIMITS.uploads, PROTOCOLS.hello, undefined)
    expect(await fetch()).toHaveLength(large.length)
  })

  it('are not taken up by strangers', async () => {
    const { network, fetch } = await busy(0, PROTOCOLS.payload, undefined)
    for (let i = 0; i < LIMITS.uploads; i++) {
      await network.wire(`stranger-${Math.floor(i / LIMITS.inboundStreams)}`).open('bob', PROTOCOLS.payload)
    }
    expect(await fetch()).toHaveLength(large.length)
  })

  it('to one peer are at most all that there can be at once, then a copy a second', async () => {
    const { alice, clock, network } = await introduced()
    const copy = 4 * MANIFEST.parameters
    const all = (LIMITS.copies * copy) / BYTES.length
    const fetch = (from = alice) => clock.run(fetchPayload(from.exchange, 'bob', WANTED))
    for (let i = 0; i < all; i++) expect(await fetch()).toEqual(PAYLOAD)
    expect(await rejection(fetch())).toMatchObject({ code: 'PEER_REFUSED', status: 'BUSY' })
    // The last one went over the budget; each second gives back a copy.
    await clock.advance(Math.ceil(BYTES.length / copy) * LIMITS.copyIntervalMs)
    expect(await fetch()).toEqual(PAYLOAD)
    expect(await rejection(fetch())).toMatchObject({ code: 'PEER_REFUSED', status: 'BUSY' })
    const carol = await startParty(network, clock, 'carol')
    await clock.run(carol.exchange.hello('bob'))
    expect(await fetch(carol)).toEqual(PAYLOAD)
  })
})

describe('a copy', () => {
  it('comes with its announcement', async () => {
    const { alice, clock } = await introduced()
    const copy = await clock.run(alice.exchange.fetchCopy('bob', 'author', BYTES.length))
    expect(copy).toEqual({ announcement: SIGNED, bytes: BYTES })
  })

  it.each([
    [
      'is not held',
      'nobody',
      1000,
      { code: 'PEER_REFUSED', what: 'the copy of nobody', status: 'NOT_FOUND' },
    ],
    ['has another length', 'author', 1004, { code: 'PAYLOAD_WRONG_LENGTH', expected: 1004, actual: 1000 }],
  ])('is refused when it %s', async (_, author, length, detail) => {
    const { alice, clock } = await introduced()
    expect(await rejection(clock.run(alice.exchange.fetchCopy('bob', author, length)))).toMatchObject(detail)
  })

  it('without an announcement is no answer', async () => {
    const header = CopyAnswer.encode({ status: Status.OK, length: 2, announcements: [] })
    const { alice, clock } = await answered('copy', header, Uint8Array.of(1, 2))
    expect((await rejection(clock.run(alice.exchange.fetchCopy('bob', 'author', 2)))).code).toBe(
      'MESSAGE_MALFORMED',
    )
  })

  it('is listed', async () => {
    const { alice, clock } = await introduced()
    expect(await clock.run(alice.exchange.listCopies('bob'))).toEqual([SIGNED])
  })

  it('is listed where there is none: an empty answer is an answer', async () => {
    const { alice, clock } = await introduced({ bob: { holdings: {} } })
    expect(await clock.run(alice.exchange.listCopies('bob'))).toEqual([])
  })

  it('is listed up to the limit, on both sides', async () => {
    const many = Array.from({ length: LIMITS.copies + 10 }, () => SIGNED)
    const { alice, clock } = await introduced({ bob: { holdings: { announcements: () => many } } })
    expect(await clock.run(alice.exchange.listCopies('bob'))).toHaveLength(LIMITS.copies)
    const liar = await answered(
      'copy',
      CopyAnswer.encode({ status: Status.OK, length: 0, announcements: many }),
    )
    expect(await liar.clock.run(liar.alice.exchange.listCopies('bob'))).toHaveLength(LIMITS.copies)
  })

  it('is listed also when all announcements are as large as they may be', async () => {
    const largest = { body: new Uint8Array(LIMITS.announcementBytes - 70), signature: new Uint8Array(64) }
    const many = Array.from({ length: LIMITS.copies }, () => largest)
    const { alice, clock } = await introduced({ bob: { holdings: { announcements: () => many } } })
    expect(await clock.run(alice.exchange.listCopies('bob'))).toHaveLength(LIMITS.copies)
  })
})

describe('peer exchange', () => {
  it('tells of others, but never more than asked for or allowed', async () => {
    const asks: { wanted: PeersWanted; asker: string }[] = []
    const peers: Holdings['peers'] = (wanted, asker) => {
      asks.push({ wanted, asker })
      return Array.from({ length: wanted.count }, (_, i) => ({
        peer: `peer-${i}`,
        addresses: [`/memory/${i}`],
        ageSeconds: i,
      }))
    }
    const { alice, clock } = await introduced({ bob: { holdings: { peers } } })
    expect(await clock.run(alice.exchange.fetchPeers('bob', wanted(2)))).toEqual([
      { peer: 'peer-0', addresses: ['/memory/0'], ageSeconds: 0 },
      { peer: 'peer-1', addresses: ['/memory/1'], ageSeconds: 1 },
    ])
    await clock.run(alice.exchange.fetchPeers('bob', wanted(1_000_000)))
    expect(asks).toEqual([
      { wanted: wanted(2), asker: 'alice' },
      { wanted: wanted(LIMITS.exchangedPeers), asker: 'alice' },
    ])
  })

  it('takes no more than allowed from one that tells too much', async () => {
    const addresses = [
      `/${'x'.repeat(LIMITS.addressBytes)}`,
      ...Array.from({ length: 20 }, (_, i) => `/memory/${i}`),
    ]
    const peers = Array.from({ length: 100 }, (_, i) => ({ peer: `peer-${i}`, addresses, ageSeconds: 0 }))
    const { alice, clock } = await answered('peers', PeersAnswer.encode({ peers }))
    const told = await clock.run(alice.exchange.fetchPeers('bob', wanted(3)))
    expect(told).toHaveLength(LIMITS.exchangedPeers)
    expect(told[0]!.addresses).toEqual(addresses.slice(1, 1 + LIMITS.exchangedAddresses))
  })
})

describe('an exchange', () => {
  it.each(Object.keys(PROTOCOLS) as (keyof typeof PROTOCOLS)[])(
    'survives garbage on %s and goes on answering',
    async (kind) => {
      const { network, alice, clock } = await introduced()
      const garbage = [
        [Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)],
        [frame(new Uint8Array(100).fill(0xff))],
        [frame(Uint8Array.of(0x0a, 0x7f, 1))],
        [frame(new Uint8Array(3 * LIMITS.manifestBytes))],
        [frame(new Uint8Array(200)).subarray(0, 100)],
        [],
      ]
      for (const pieces of garbage) {
        const stream = await network.wire('alice').open('bob', PROTOCOLS[kind])
        await stream.sink(pieces)
      }
      await settle()
      expect(clock.sleeping).toBe(0)
      expect(await clock.run(fetchPayload(alice.exchange, 'bob', WANTED))).toEqual(PAYLOAD)
      expect(await clock.run(alice.exchange.listCopies('bob'))).toEqual([SIGNED])
    },
  )

  it.each<[keyof typeof PROTOCOLS, (exchange: Exchange) => Promise<unknown>]>([
    ['payload', (exchange) => fetchPayload(exchange, 'bob', { hash: HASH, length: 0 })],
    ['copy', (exchange) => exchange.fetchCopy('bob', 'author', 0)],
    ['copy', (exchange) => exchange.listCopies('bob')],
  ])('takes a status of %s that it does not know for a malformed answer', async (kind, asking) => {
    const { alice, clock } = await answered(kind, Uint8Array.of(0x08, 99))
    expect((await rejection(clock.run(asking(alice.exchange)))).code).toBe('MESSAGE_MALFORMED')
  })

  it.each<[keyof typeof PROTOCOLS, (exchange: Exchange) => Promise<unknown>]>([
    ['hello', (exchange) => exchange.hello('bob')],
    ['payload', (exchange) => fetchPayload(exchange, 'bob', WANTED)],
    ['copy', (exchange) => exchange.listCopies('bob')],
    ['peers', (exchange) => exchange.fetchPeers('bob', wanted(1))],
  ])('speaks %s no more when it has stopped', async (_, asking) => {
    const { alice, bob, clock } = await introduced()
    await bob.exchange.stop()
    expect(await rejection(clock.run(asking(alice.exchange)))).toMatchObject({
      code: 'PEER_UNREACHABLE',
      stage: 'protocol',
    })
  })

  it('answers a request for peers of a stranger with none, not with an error', async () => {
    const { network, clock } = await two()
    const request = PeersRequest.encode({ count: 3 })
    const asking = ask(network.wire('carol'), clock, 'bob', PROTOCOLS.peers, request, { bodyBytes: () => 0 })
    expect(PeersAnswer.decode((await clock.run(asking)).header)).toEqual({ peers: [] })
  })
})

describe('a peer that asks too much', () => {
  it('is answered a burst, then twenty times a second, and blamed for the rest', async () => {
    const { clock, alice, bob } = await introduced(LARGE_BOTH)
    const fetch = () => fetchPayload(alice.exchange, 'bob', WANTED)
    // One request was the introduction.
    for (let i = 1; i < LIMITS.requestBurst; i++) await clock.run(fetch())
    expect((await clock.run(rejection(fetch()))).code).toBe('PEER_UNREACHABLE')
    expect(bob.offences).toEqual([{ peer: 'alice', reason: 'rate' }])
    await clock.advance(LIMITS.requestIntervalMs)
    expect(await clock.run(fetch())).toEqual(PAYLOAD)
    expect((await clock.run(rejection(fetch()))).code).toBe('PEER_UNREACHABLE')
  })

  it('costs nobody else anything', async () => {
    const { network, clock, alice } = await introduced(LARGE_BOTH)
    const carol = await startParty(network, clock, 'carol', { manifest: LARGE })
    await clock.run(carol.exchange.hello('bob'))
    for (let i = 1; i < LIMITS.requestBurst; i++) await clock.run(fetchPayload(alice.exchange, 'bob', WANTED))
    expect((await clock.run(rejection(fetchPayload(alice.exchange, 'bob', WANTED)))).code).toBe(
      'PEER_UNREACHABLE',
    )
    expect(await clock.run(fetchPayload(carol.exchange, 'bob', WANTED))).toEqual(PAYLOAD)
  })

  it.each([
    ['payload', Uint8Array.of(0xff)],
    ['copy', Uint8Array.of(0xff)],
    ['peers', Uint8Array.of(0xff)],
    ['hello', Uint8Array.of(0xff)],
    ['payload', new Uint8Array(LIMITS.requestBytes + 1)],
  ] as const)('in a way that nobody should (%s, %#) is blamed', async (kind, request) => {
    const { network, bob } = await introduced()
    const stream = await network.wire('alice').open('bob', PROTOCOLS[kind])
    await stream.sink([frame(request)])
    await settle()
    expect(bob.offences).toEqual([{ peer: 'alice', reason: 'malformed' }])
  })
})
