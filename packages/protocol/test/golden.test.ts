import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  type Announcement,
  decodeSigned,
  encodeSigned,
  readAnnouncement,
  signAnnouncement,
  verifyAnnouncement,
} from '../src/announcement.ts'
import { AVERAGE_PROTOCOL, createAveraging } from '../src/averaging.ts'
import { findCell, positionOf } from '../src/cells.ts'
import { type CodecChoice, type CodecName, codecOf, CODECS } from '../src/codec/codec.ts'
import { type Exchange, PROTOCOLS } from '../src/exchange.ts'
import { announcementTopic } from '../src/gossip.ts'
import { messageId } from '../src/libp2p/gossipsub-pubsub.ts'
import { createSigner } from '../src/libp2p/signer.ts'
import { decodeManifest, encodeManifest, manifestHash } from '../src/manifest.ts'
import { PartialPayload, payloadOf } from '../src/payload.ts'
import type { WireStream } from '../src/wire.ts'
import { startParty } from './support/exchanges.ts'
import { sha256 } from './support/federation.ts'
import { frame } from './support/hostile.ts'
import { MemoryNetwork } from './support/memory-network.ts'
import { seeded } from './support/random.ts'
import { VirtualClock } from './support/virtual-clock.ts'

// Made by scripts/fixtures/protocol.mjs, which knows docs/PROTOCOL.md and nothing of this package. What is here must be made, and
// read, exactly so: other implementations are held to it, too.

type Role = 'asking' | 'answering'
interface Exchanged {
  readonly request: string
  readonly answer: string
}
interface CodecCase {
  readonly codec: CodecChoice
  readonly values: string
  readonly encoded: string
  readonly decoded: string
}
interface Golden {
  readonly author: { readonly privateKey: string; readonly id: string; readonly position: string }
  readonly manifest: { readonly json: string; readonly sha256: string }
  readonly hello: { readonly addresses: string[]; readonly time: number; readonly message: string }
  readonly announcement: Record<'epoch' | 'sequence' | 'round' | 'length' | 'degree', number> &
    Record<'payloadHash' | 'copyHash' | 'message' | 'topic' | 'messageId', string>
  /** The same announcement, of an author who publishes a perplexity. */
  readonly published: { readonly perplexity: number; readonly message: string }
  readonly payload: {
    readonly length: number
    readonly pulls: { request: string; header: string; bodyFrames: number[]; sha256: string }[]
  }
  readonly copy: Exchanged
  readonly copies: Exchanged
  readonly peers: Exchanged
  readonly codecs: { readonly exact: CodecCase[]; readonly rounded: CodecCase[] }
  readonly averaging: {
    readonly codecs: [CodecName, CodecName]
    readonly initial: string
    readonly asking: string
    readonly answering: string
    readonly frames: { readonly from: Role; readonly bytes: string }[]
    readonly increments: Record<Role, string>
  }[]
  readonly cells: {
    readonly positions: string[]
    readonly peers: { readonly own: string; readonly current: string; readonly cell: string }[]
  }[]
}

const GOLDEN = JSON.parse(readFileSync(new URL('fixtures/protocol.json', import.meta.url), 'utf8')) as Golden

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))
const floats = (text: string): Float32Array => CODECS.float32.decode(unhex(text), text.length / 8)
const bits = (values: Float32Array): string => hex(CODECS.float32.encode(values, () => 0))

const MANIFEST = decodeManifest(new TextEncoder().encode(GOLDEN.manifest.json))

describe('the golden manifest', () => {
  it('is canonical, and has the same hash', () => {
    expect(new TextDecoder().decode(encodeManifest(MANIFEST))).toBe(GOLDEN.manifest.json)
    expect(manifestHash(MANIFEST)).toBe(GOLDEN.manifest.sha256)
  })
})

describe('the golden announcement', () => {
  const { payloadHash, copyHash, message, topic, messageId: theirMessageId, ...numbers } = GOLDEN.announcement
  const { perplexity, message: published } = GOLDEN.published
  const announcement: Announcement = {
    ...numbers,
    version: 1,
    federation: unhex(GOLDEN.manifest.sha256),
    author: GOLDEN.author.id,
    payloadHash: unhex(payloadHash),
    copyHash: unhex(copyHash),
  }
  const author = async () => {
    const key = await generateKeyPairFromSeed('Ed25519', unhex(GOLDEN.author.privateKey))
    // Two copies of @libp2p/interface are installed; their keys differ in a type parameter only.
    return key as unknown as PrivateKey
  }

  it('is by an author who is called and stands so', async () => {
    expect(peerIdFromPrivateKey(await author()).toString()).toBe(GOLDEN.author.id)
    expect(positionOf(GOLDEN.author.id)).toBe(GOLDEN.author.position)
  })

  const cases = [
    { what: '', content: announcement, bytes: message },
    { what: ' with a perplexity', content: { ...announcement, perplexity }, bytes: published },
  ]

  it.each(cases)('is signed to the same bytes$what', async ({ content, bytes }) => {
    const signed = await signAnnouncement(content, createSigner(await author()))
    expect(hex(encodeSigned(signed))).toBe(bytes)
  })

  it.each(cases)('is read and verified$what', async ({ content, bytes }) => {
    const signed = decodeSigned(unhex(bytes))
    const rules = { federation: announcement.federation, maxPayloadBytes: announcement.length }
    expect(readAnnouncement(signed, rules)).toEqual(content)
    expect(await verifyAnnouncement(signed, GOLDEN.author.id, createSigner(await author()))).toBe(true)
  })

  it('goes to the same topic under the same id', () => {
    expect(announcementTopic(GOLDEN.manifest.sha256, '01')).toBe(topic)
    expect(hex(messageId(topic, unhex(message)))).toBe(theirMessageId)
  })
})

describe.each(GOLDEN.codecs.exact)('a golden payload in $codec', ({ codec, values, encoded, decoded }) => {
  const { length } = floats(values)

  it('is made, byte for byte', () => {
    expect(hex(codecOf(codec).encode(floats(values), seeded(1)))).toBe(encoded)
  })

  it('is read, bit for bit', () => {
    expect(bits(codecOf(codec).decode(unhex(encoded), length))).toBe(decoded)
  })
})

describe.each(GOLDEN.codecs.rounded)('a golden payload in $codec, rounded', ({ codec, encoded, decoded }) => {
  it('is read, bit for bit', () => {
    expect(bits(codecOf(codec).decode(unhex(encoded), decoded.length / 8))).toBe(decoded)
  })
})

async function allOf(source: WireStream['source']): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  for await (const piece of source) pieces.push(piece.subarray())
  return new Uint8Array(Buffer.concat(pieces))
}

/** Between ours, `first`, and `second`, who says golden bytes whatever it hears. */
function stage() {
  const network = new MemoryNetwork()
  const clock = new VirtualClock(GOLDEN.hello.time)
  const second = network.wire('second')
  const heard: Uint8Array[] = []
  const say = async (stream: WireStream, bytes: Uint8Array) => {
    const [all] = await Promise.all([allOf(stream.source), stream.sink([bytes])])
    heard.push(all)
  }
  return {
    network,
    clock,
    /** All that ours said, of each stream. */
    heard,
    ask: async (protocol: string, bytes: Uint8Array) => say(await second.open('first', protocol), bytes),
    answer: (protocol: string, bytes: Uint8Array) => second.handle(protocol, (stream) => say(stream, bytes)),
  }
}

const PAYLOAD = payloadOf(
  Uint8Array.from({ length: GOLDEN.payload.length }, (_, k) => (k * k + (k >> 8)) % 256),
)
const COPY = {
  announcement: decodeSigned(unhex(GOLDEN.announcement.message)),
  bytes: unhex(GOLDEN.copy.answer).subarray(-4 * MANIFEST.parameters),
}
const FRIEND = { peer: GOLDEN.author.id, addresses: GOLDEN.hello.addresses, ageSeconds: 61 }

it('announces the golden payload and the golden copy', () => {
  expect(hex(PAYLOAD.hash)).toBe(GOLDEN.announcement.payloadHash)
  expect(hex(sha256(COPY.bytes))).toBe(GOLDEN.announcement.copyHash)
})

/** Both of the federation, and acquainted. With so many parameters that nothing is too much to ask. */
async function acquainted() {
  const on = stage()
  const manifest = { ...MANIFEST, parameters: 1_000_000 }
  const party = await startParty(on.network, on.clock, 'first', {
    manifest,
    holdings: {
      payload: (hash) => (hex(hash) === hex(PAYLOAD.hash) ? PAYLOAD : undefined),
      copy: (author) => (author === GOLDEN.author.id ? COPY : undefined),
      announcements: () => [COPY.announcement],
      peers: ({ count, near, outside }) => (count === 8 && near === '01' && outside ? [FRIEND] : []),
    },
  })
  const second = await startParty(on.network, on.clock, 'second', { manifest })
  await on.clock.run(second.exchange.hello('first'))
  return { ...on, exchange: party.exchange }
}

describe('the golden hello', () => {
  const { addresses, message } = GOLDEN.hello
  const meeting = async () => {
    const on = stage()
    return {
      ...on,
      first: await startParty(on.network, on.clock, 'first', { manifest: MANIFEST, addresses }),
    }
  }

  it('is how we answer it', async () => {
    const { ask, heard, first } = await meeting()
    await ask(PROTOCOLS.hello, unhex(message))
    expect(heard.map(hex)).toEqual([message])
    expect(first.admitted).toEqual([{ peer: 'second', addresses }])
  })

  it('is how we ask', async () => {
    const { answer, heard, clock, first } = await meeting()
    await answer(PROTOCOLS.hello, unhex(message))
    expect(await clock.run(first.exchange.hello('second'))).toEqual(MANIFEST)
    expect(heard.map(hex)).toEqual([message])
    expect(first.admitted).toEqual([{ peer: 'second', addresses }])
  })
})

describe.each(GOLDEN.payload.pulls)(
  'a golden pull of $bodyFrames',
  ({ request, header, bodyFrames, sha256: hash }) => {
    const offset = PAYLOAD.bytes.byteLength - bodyFrames.reduce((sum, length) => sum + length, 0)

    it('is answered so', async () => {
      const { ask, heard } = await acquainted()
      await ask(PROTOCOLS.payload, unhex(request))
      expect(hex(heard[0]!.subarray(0, header.length / 2))).toBe(header)
      expect(hex(sha256(heard[0]!))).toBe(hash)
    })

    it('is asked so, and what comes is taken', async () => {
      const { answer, heard, clock, exchange } = await acquainted()
      let at = offset
      const frames = bodyFrames.map((length) => frame(PAYLOAD.bytes.subarray(at, (at += length))))
      await answer(PROTOCOLS.payload, Buffer.concat([unhex(header), ...frames]))
      const partial = new PartialPayload(PAYLOAD.hash, PAYLOAD.bytes.byteLength)
      partial.prove('another', PAYLOAD.proof)
      partial.rest().set(PAYLOAD.bytes.subarray(0, offset))
      partial.came('another', 0, offset)
      await clock.run(exchange.fetchPayload('second', partial))
      expect(heard.map(hex)).toEqual([request])
      expect(hex(partial.whole().bytes)).toBe(hex(PAYLOAD.bytes))
    })
  },
)

describe.each([
  {
    what: 'copy',
    protocol: PROTOCOLS.copy,
    golden: GOLDEN.copy,
    fetch: (exchange: Exchange): Promise<unknown> =>
      exchange.fetchCopy('second', GOLDEN.author.id, COPY.bytes.byteLength),
    fetched: COPY,
  },
  {
    what: 'list of copies',
    protocol: PROTOCOLS.copy,
    golden: GOLDEN.copies,
    fetch: (exchange: Exchange): Promise<unknown> => exchange.listCopies('second'),
    fetched: [COPY.announcement],
  },
  {
    what: 'list of peers',
    protocol: PROTOCOLS.peers,
    golden: GOLDEN.peers,
    fetch: (exchange: Exchange): Promise<unknown> =>
      exchange.fetchPeers('second', { count: 8, near: '01', outside: true }),
    fetched: [FRIEND],
  },
])('a golden $what', ({ protocol, golden: { request, answer: answered }, fetch, fetched }) => {
  it('is answered so', async () => {
    const { ask, heard } = await acquainted()
    await ask(protocol, unhex(request))
    expect(heard.map(hex)).toEqual([answered])
  })

  it('is asked for so, and taken', async () => {
    const { answer, heard, clock, exchange } = await acquainted()
    await answer(protocol, unhex(answered))
    expect(await clock.run(fetch(exchange))).toEqual(fetched)
    expect(heard.map(hex)).toEqual([request])
  })
})

describe.each(GOLDEN.averaging)(
  'a golden average in $codecs',
  ({ codecs, frames, increments, ...vectors }) => {
    const said = (by: Role) =>
      frames
        .filter(({ from }) => from === by)
        .map(({ bytes }) => bytes)
        .join('')
    const averaging = async ({ network, clock }: ReturnType<typeof stage>, x: string, asks: boolean) => {
      const made = createAveraging({
        initial: floats(vectors.initial),
        codec: CODECS[codecs[0]],
        differenceCodec: CODECS[codecs[1]],
        wire: network.wire('first'),
        clock,
        random: seeded(1),
        robust: false,
        isAdmitted: () => true,
        outsiders: () => (asks ? ['second'] : []),
        events: { onTraffic: () => undefined, onRefusal: () => undefined },
      })
      await made.start()
      made.offer(floats(x))
      return made
    }

    it('is asked so', async () => {
      const on = stage()
      await on.answer(AVERAGE_PROTOCOL, unhex(said('answering')))
      const ours = await averaging(on, vectors.asking, true)
      await on.clock.advance(2000)
      expect(on.heard.map(hex)).toEqual([said('asking')])
      expect(ours.take().map(({ increment }) => bits(increment))).toEqual([increments.asking])
    })

    it('is answered so', async () => {
      const on = stage()
      const ours = await averaging(on, vectors.answering, false)
      await on.ask(AVERAGE_PROTOCOL, unhex(said('asking')))
      expect(on.heard.map(hex)).toEqual([said('answering')])
      expect(ours.take().map(({ increment }) => bits(increment))).toEqual([increments.answering])
    })
  },
)

describe('golden cells', () => {
  it.each(GOLDEN.cells)('are where the walk ends', ({ positions, peers }) => {
    const found = peers.map(({ own, current }) =>
      findCell(
        own,
        positions.filter((position) => position !== own),
        current,
      ),
    )
    expect(found).toEqual(peers.map(({ cell }) => cell))
  })
})
