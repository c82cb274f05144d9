import { isProtocolError, ProtocolError } from './errors.ts'
import type { RefusalReason } from './gossip.ts'
import { LIMITS } from './limits.ts'
import {
  decodeManifest,
  encodeManifest,
  type Manifest,
  PROTOCOL_VERSION,
  requireSameManifest,
} from './manifest.ts'
import {
  CopyAnswer,
  CopyRequest,
  Hello,
  PayloadAnswer,
  PayloadRequest,
  type PeerAddresses,
  PeersAnswer,
  PeersRequest,
  type SignedAnnouncement,
  Status,
} from './pb/messages.ts'
import type { PartialPayload, Payload } from './payload.ts'
import { RateLimiter } from './rate-limiter.ts'
import { ask, type AskOptions, isMalformed, type Reply, reply } from './stream.ts'
import type { Clock, Wire, WireStream } from './wire.ts'

export type { PeerAddresses } from './pb/messages.ts'

/** Protocol ids on the wire. That of hello has no version, so that peers of different versions can tell each other. */
export const PROTOCOLS = {
  hello: '/comigs/hello',
  payload: `/comigs/${PROTOCOL_VERSION}/payload`,
  copy: `/comigs/${PROTOCOL_VERSION}/copy`,
  peers: `/comigs/${PROTOCOL_VERSION}/peers`,
} as const

export type TrafficKind = 'hello' | 'announcement' | 'payload' | 'copy' | 'peers' | 'average'
export type Direction = 'in' | 'out'
type StreamKind = keyof typeof PROTOCOLS

/** What peers may ask of us. */
export interface Holdings {
  payload(hash: Uint8Array): Payload | undefined
  copy(author: string): { readonly announcement: SignedAnnouncement; readonly bytes: Uint8Array } | undefined
  announcements(): readonly SignedAnnouncement[]
  peers(wanted: PeersWanted, asker: string): readonly PeerAddresses[]
}

/** Peers near a place in the trie of cells, or random ones outside of it. */
export interface PeersWanted {
  readonly count: number
  readonly near: string
  readonly outside: boolean
}

export interface ExchangeInit {
  readonly wire: Wire
  readonly clock: Clock
  /** Undefined in a joiner that has not got one yet. */
  readonly manifest: Manifest | undefined
  readonly holdings: Holdings
  addresses(): readonly string[]
  onTraffic(kind: TrafficKind, direction: Direction, bytes: number): void
  /** A peer of our federation; it may now ask and be asked. */
  onAdmitted(peer: string, addresses: readonly string[]): void
  onRefused(peer: string, error: ProtocolError): void
  /** A peer asked what no honest peer asks, or too much. */
  readonly onOffence: (reason: RefusalReason, peer: string, detail: string) => void
}

/** Streams between two peers: who are you, give me that payload, that copy, other peers. */
export interface Exchange {
  start(): Promise<void>
  stop(): Promise<void>
  admitted(): readonly string[]
  forget(peer: string): void
  /**
   * Introduces ourselves and checks that the peer is in our federation. A joiner gets the manifest instead.
   * @throws ProtocolError `MANIFEST_MISMATCH`, `MANIFEST_INVALID` and what `ask` throws
   */
  hello(peer: string): Promise<Manifest>
  /** How many large answers are being sent. */
  uploading(): number
  /** How far a peer's clock was ahead of ours at its last answer to our hello; undefined when it did not tell. */
  skewMs(peer: string): number | undefined
  /**
   * Goes on with a payload from where it stands. What has come and is right stays, also when this throws.
   * @throws ProtocolError `PEER_REFUSED`, `PAYLOAD_WRONG_HASH`, `PAYLOAD_WRONG_LENGTH` and what `ask` throws
   */
  fetchPayload(peer: string, payload: PartialPayload): Promise<void>
  /** The bytes are not verified: the announcement that comes with them says what their hash must be. */
  fetchCopy(
    peer: string,
    author: string,
    length: number,
  ): Promise<{ readonly announcement: SignedAnnouncement; readonly bytes: Uint8Array }>
  listCopies(peer: string): Promise<readonly SignedAnnouncement[]>
  fetchPeers(peer: string, wanted: PeersWanted): Promise<readonly PeerAddresses[]>
}

export function createExchange(init: ExchangeInit): Exchange {
  const { wire, clock, holdings } = init
  const ours = init.manifest === undefined ? undefined : encodeManifest(init.manifest)
  const admitted = new Set<string>()
  /** Of peers with a connection that we greeted. */
  const skews = new Map<string, number>()
  /** Running uploads, by peer. */
  const uploads = new Map<string, number>()
  const copyBytes = 4 * (init.manifest?.parameters ?? 0)
  const budget = new RateLimiter(
    clock,
    LIMITS.copies * copyBytes,
    LIMITS.copyIntervalMs / copyBytes,
    4 * LIMITS.copies,
  )
  const uploading = () => [...uploads.values()].reduce((sum, count) => sum + count, 0)
  const mayUpload = (peer: string, bytes: number): boolean =>
    uploading() < LIMITS.uploads &&
    (uploads.get(peer) ?? 0) < LIMITS.uploadsPerPeer &&
    budget.take(peer, bytes)
  /** @returns gives the place back */
  const takePlace = (peer: string) => {
    uploads.set(peer, (uploads.get(peer) ?? 0) + 1)
    return () => {
      const left = uploads.get(peer)! - 1
      if (left > 0) uploads.set(peer, left)
      else uploads.delete(peer)
    }
  }

  const ownHello = (): Uint8Array =>
    Hello.encode({
      version: PROTOCOL_VERSION,
      manifest: ours ?? new Uint8Array(),
      addresses: init.addresses().slice(0, LIMITS.exchangedAddresses),
      time: clock.now(),
    })

  /** Compares what the other side said with ours; admits or refuses it. */
  const meet = (peer: string, theirs: Hello): Manifest | undefined => {
    try {
      if (theirs.version !== PROTOCOL_VERSION) {
        const versions = { ours: String(PROTOCOL_VERSION), theirs: String(theirs.version) }
        throw new ProtocolError({ code: 'MANIFEST_MISMATCH', field: 'comigs', ...versions })
      }
      if (theirs.manifest.byteLength === 0 || ours === undefined || init.manifest === undefined)
        return undefined
      // Before parsing: a newer version may have fields that we do not know, and the difference should be named.
      requireSameManifest(init.manifest, looselyParsed(theirs.manifest) as Manifest)
    } catch (error) {
      if (isProtocolError(error)) init.onRefused(peer, error)
      throw error
    }
    admitted.add(peer)
    init.onAdmitted(
      peer,
      theirs.addresses
        .filter((address) => address.length <= LIMITS.addressBytes)
        .slice(0, LIMITS.exchangedAddresses),
    )
    return init.manifest
  }

  const request = async (
    peer: string,
    kind: StreamKind,
    message: Uint8Array,
    bodyBytes: AskOptions['bodyBytes'],
    onBody?: (bytes: number) => void,
  ) => {
    let header = 0
    let body = 0
    try {
      return await ask(wire, clock, peer, PROTOCOLS[kind], message, {
        bodyBytes(bytes) {
          header = bytes.byteLength
          return bodyBytes(bytes)
        },
        onBody(bytes) {
          body = bytes
          onBody?.(bytes)
        },
      })
    } finally {
      // Also of a stream that broke.
      if (header > 0) {
        init.onTraffic(kind, 'out', message.byteLength)
        init.onTraffic(kind, 'in', header + body)
      }
    }
  }

  /** Answers a kind of request. Those that may send a large body count as uploads while they do. */
  const serve = (
    kind: StreamKind,
    answer: (message: Uint8Array, peer: string) => Reply,
    maxRequestBytes: number = LIMITS.requestBytes,
  ) =>
    wire.handle(PROTOCOLS[kind], async (stream: WireStream, peer: string) => {
      let giveBack = (): void => undefined
      try {
        await reply(stream, clock, maxRequestBytes, (message) => {
          const made = answer(message, peer)
          if (made.body !== undefined) giveBack = takePlace(peer)
          init.onTraffic(kind, 'in', message.byteLength)
          init.onTraffic(kind, 'out', made.header.byteLength + (made.body?.byteLength ?? 0))
          return made
        })
      } catch (error) {
        if (isMalformed(error)) init.onOffence('malformed', peer, `${kind}: ${error.message}`)
        throw error
      } finally {
        giveBack()
      }
    })

  const servePayload = (message: Uint8Array, peer: string): Reply => {
    const refuse = (status: Status): Reply => ({
      header: PayloadAnswer.encode({ status, length: 0, proof: NOTHING }),
    })
    const { hash, offset, length } = decoded('payload request', () => PayloadRequest.decode(message))
    if (!admitted.has(peer)) return refuse(Status.WRONG_FEDERATION)
    const payload = holdings.payload(hash)
    // Of another length: its author announced it twice, and the asker must not blame us for that.
    if (payload?.bytes.byteLength !== length) return refuse(Status.NOT_FOUND)
    if (offset > length) return refuse(Status.BAD_REQUEST)
    const body = payload.bytes.subarray(offset)
    if (!mayUpload(peer, body.byteLength)) return refuse(Status.BUSY)
    const { proof } = payload
    return { header: PayloadAnswer.encode({ status: Status.OK, length: body.byteLength, proof }), body }
  }

  const serveCopy = (message: Uint8Array, peer: string): Reply => {
    const refuse = (status: Status): Reply => ({
      header: CopyAnswer.encode({ status, length: 0, announcements: [] }),
    })
    const { author } = decoded('copy request', () => CopyRequest.decode(message))
    if (!admitted.has(peer)) return refuse(Status.WRONG_FEDERATION)
    if (author === '') {
      const announcements = holdings.announcements().slice(0, LIMITS.copies)
      return { header: CopyAnswer.encode({ status: Status.OK, length: 0, announcements }) }
    }
    const held = holdings.copy(author)
    if (held === undefined) return refuse(Status.NOT_FOUND)
    const length = held.bytes.byteLength
    if (!mayUpload(peer, length)) return refuse(Status.BUSY)
    return {
      header: CopyAnswer.encode({ status: Status.OK, length, announcements: [held.announcement] }),
      body: held.bytes,
    }
  }

  const requireOk = (peer: string, what: string, status: Status): void => {
    if (status !== Status.OK) throw new ProtocolError({ code: 'PEER_REFUSED', peer, what, status })
  }

  const requireLength = (peer: string, expected: number, actual: number): number => {
    if (actual !== expected) throw new ProtocolError({ code: 'PAYLOAD_WRONG_LENGTH', peer, expected, actual })
    return expected
  }

  return {
    async start() {
      const hello = (message: Uint8Array, peer: string): Reply => {
        const theirs = decoded('hello', () => Hello.decode(message))
        try {
          meet(peer, theirs)
        } catch (error) {
          // Refused; the answer lets the other side say why, too.
          if (!isProtocolError(error)) throw error
        }
        return { header: ownHello() }
      }
      const peers = (message: Uint8Array, peer: string): Reply => {
        const { count, near, outside } = decoded('peers request', () => PeersRequest.decode(message))
        const wanted = { count: Math.min(count, LIMITS.exchangedPeers), near, outside }
        const known = admitted.has(peer) ? holdings.peers(wanted, peer) : []
        return { header: PeersAnswer.encode({ peers: [...known] }) }
      }
      await serve('hello', hello, 2 * LIMITS.manifestBytes)
      await serve('payload', servePayload)
      await serve('copy', serveCopy)
      await serve('peers', peers)
    },

    async stop() {
      for (const protocol of Object.values(PROTOCOLS)) await wire.unhandle(protocol)
    },

    admitted: () => [...admitted],
    forget(peer) {
      admitted.delete(peer)
      skews.delete(peer)
    },
    uploading,
    skewMs: (peer) => skews.get(peer),

    async hello(peer) {
      const asked = clock.now()
      const { header } = await request(peer, 'hello', ownHello(), () => 0)
      const theirs = decoded('hello', () => Hello.decode(header))
      if (theirs.time !== undefined) skews.set(peer, theirs.time - (asked + clock.now()) / 2)
      const manifest = meet(peer, theirs)
      if (manifest !== undefined) return manifest
      if (init.manifest !== undefined) return init.manifest // the peer is a joiner without one
      return decodeManifest(theirs.manifest)
    },

    async fetchPayload(peer, payload) {
      const { hash, length, verified: offset } = payload
      const rest = payload.rest()
      const message = PayloadRequest.encode({ hash, offset, length })
      const bodyBytes = (header: Uint8Array) => {
        const answer = decoded('payload answer', () => PayloadAnswer.decode(header))
        requireOk(peer, 'a payload', answer.status)
        requireLength(peer, rest.byteLength, answer.length)
        payload.prove(peer, answer.proof)
        return rest
      }
      await request(peer, 'payload', message, bodyBytes, (bytes) => {
        payload.came(peer, offset, bytes)
      })
    },

    async fetchCopy(peer, author, length) {
      let announcement: SignedAnnouncement | undefined
      const { body } = await request(peer, 'copy', CopyRequest.encode({ author }), (header) => {
        const answer = decoded('copy answer', () => CopyAnswer.decode(header))
        requireOk(peer, `the copy of ${author}`, answer.status)
        announcement = answer.announcements[0]
        return requireLength(peer, length, answer.length)
      })
      if (announcement === undefined) {
        throw new ProtocolError({ code: 'MESSAGE_MALFORMED', what: 'copy answer', reason: 'no announcement' })
      }
      return { announcement, bytes: body }
    },

    async listCopies(peer) {
      const { header } = await request(peer, 'copy', CopyRequest.encode({ author: '' }), () => 0)
      const answer = decoded('copy answer', () => CopyAnswer.decode(header))
      requireOk(peer, 'the list of copies', answer.status)
      return answer.announcements.slice(0, LIMITS.copies)
    },

    async fetchPeers(peer, wanted) {
      const { header } = await request(peer, 'peers', PeersRequest.encode(wanted), () => 0)
      const { peers } = decoded('peers answer', () => PeersAnswer.decode(header))
      return peers.slice(0, LIMITS.exchangedPeers).map((one) => ({
        ...one,
        addresses: one.addresses
          .filter((address) => address.length <= LIMITS.addressBytes)
          .slice(0, LIMITS.exchangedAddresses),
      }))
    },
  }
}

const NOTHING = new Uint8Array()

function decoded<T>(what: string, decode: () => T): T {
  try {
    return decode()
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new ProtocolError({ code: 'MESSAGE_MALFORMED', what, reason }, { cause: error })
  }
}

function looselyParsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch (error) {
    throw new ProtocolError(
      { code: 'MANIFEST_INVALID', field: '(manifest)', reason: 'is not JSON' },
      { cause: error },
    )
  }
}
