import { equals } from 'uint8arrays/equals'
import { fromString } from 'uint8arrays/from-string'
import {
  type Announcement,
  decodeSigned,
  encodeSigned,
  isNewer,
  isPerplexity,
  readAnnouncement,
  type SignedAnnouncement,
  signAnnouncement,
  verifyAnnouncement,
} from './announcement.ts'
import { type Cell, mayBelong, positionOf } from './cells.ts'
import { type Codec, codecOf, CODECS, requireFinite } from './codec/codec.ts'
import { safeGamma } from './codec/gamma.ts'
import { isProtocolError, ProtocolError } from './errors.ts'
import type { Exchange, Holdings, TrafficKind } from './exchange.ts'
import { keepLast } from './keep-last.ts'
import { LIMITS } from './limits.ts'
import { type Manifest, manifestHash, PROTOCOL_VERSION } from './manifest.ts'
import {
  ageDiscount,
  clipFactors,
  consensusDistance,
  difference,
  distance,
  edgeWeight,
  isOpposed,
  mean,
  mixingIncrement,
  norm,
} from './mixing.ts'
import type { OwnState } from './own-state.ts'
import { Patience } from './patience.ts'
import { PartialPayload, type Payload, payloadOf, sha256 } from './payload.ts'
import { RateLimiter } from './rate-limiter.ts'
import type { Clock, Pubsub, Random, Signer, Verdict, Wire } from './wire.ts'

/** Why what a peer has was not to be had, or not wanted. */
const FETCH_FAILURES = [
  'malformed',
  'hash',
  'length',
  'non-finite',
  'unreachable',
  'timeout',
  'refused',
  'opposed',
] as const
export type FetchFailure = (typeof FETCH_FAILURES)[number]

/** Why something from a peer was not taken. A label of a metric: keep the list short. */
export type RefusalReason = FetchFailure | 'signature' | 'rate' | 'old' | 'full' | 'stranger' | 'cell'

/**
 * Why a peer was not mixed with: silent for too long, muted by the benefit guard, grown against us, still being fetched, or
 * not to be had. Labels of a metric, too.
 */
export const LEFT_OUT_REASONS = ['stale', 'muted', 'pending', ...FETCH_FAILURES] as const
export type LeftOutReason = (typeof LEFT_OUT_REASONS)[number]

export interface GossipEvents {
  onTraffic(kind: TrafficKind, direction: 'in' | 'out', bytes: number): void
  onRefusal(reason: RefusalReason, peer: string, detail: string): void
  /** A followed copy moved on. */
  onCopy(author: string, round: number): void
}

export interface GossipInit {
  readonly manifest: Manifest
  /** Where every copy starts, y(0): the manifest's seeded init. */
  readonly initial: Float32Array
  readonly wire: Wire
  readonly pubsub: Pubsub
  readonly exchange: Exchange
  readonly signer: Signer
  readonly clock: Clock
  /** Streams of random numbers by purpose and counter, so that a resumed peer draws the same. */
  random(purpose: string, counter: number): Random
  readonly restored?: OwnState | undefined
  persist(state: OwnState): Promise<void>
  readonly events: GossipEvents
  /** Whether to follow an author at all. @default everyone */
  admits?(author: string): boolean
  /** Ours on our own validation text, for everyone to read in our announcements. @default none is published */
  perplexity?(): number | undefined
}

export interface MixReport {
  /** To be added to x. */
  readonly increment: Float32Array
  readonly mixedWith: readonly {
    readonly peer: string
    readonly ageRounds: number
    readonly weight: number
    /** What of its difference to us was mixed in: 1, or less where it was clipped. */
    readonly clip: number
  }[]
  readonly leftOut: readonly { readonly peer: string; readonly reason: LeftOutReason }[]
  /** The part of the increment that one neighbour makes. */
  contribution(peer: string): Float32Array
  /** |x - m| / |m - init| before mixing; undefined while nothing was learnt. */
  readonly consensusDistance: number | undefined
}

export interface Gossip {
  start(): Promise<void>
  stop(): void
  /** Moves to a cell: announces there from now on, and follows who announces there. */
  enter(cell: Cell): void
  /** Learns from a peer which copies it follows, and fetches what is new to us. */
  catchUp(peer: string): Promise<void>
  /** The mean of the followed copies: where a joiner starts. Undefined when there are none. */
  joinAt(): Float32Array | undefined
  /**
   * Begins our copy anew at `x` (a joiner, or a peer that lost its state): a new epoch, announced as a full copy.
   * @returns the copy as the swarm will know it
   */
  begin(x: Float32Array, round: number): Promise<Float32Array>
  /** Encodes `x - y`, adds what the encoding kept to y, writes that down and announces it. */
  publish(x: Float32Array, round: number): Promise<{ readonly payloadBytes: number }>
  /** Waits until the neighbours' deltas of our last publication have arrived, or for as long as that usually takes. */
  collect(limits: { readonly maxMs: number; readonly signal?: AbortSignal | undefined }): Promise<void>
  /**
   * The mixing step on what has arrived. Changes nothing here: add the increment to x.
   * @param muted - neighbours to leave out
   */
  mix(x: Float32Array, muted?: ReadonlySet<string>): MixReport
  /** Consensus distance of x as things stand; undefined without neighbours. */
  consensus(x: Float32Array): number | undefined
  readonly holdings: Pick<Holdings, 'payload' | 'copy' | 'announcements'>
  /** How many authors' news are being fetched. */
  pulling(): number
  /** Peers whose copies we follow. */
  neighbours(): readonly { readonly peer: string; readonly round: number; readonly ageRounds: number }[]
  /** Of those who publish theirs and have not gone silent, the least first. Whose it is makes no difference here. */
  perplexities(): readonly number[]
}

/** A followed copy, y_j. */
interface Copy {
  readonly values: Float32Array
  readonly announced: Announcement
  readonly signed: SignedAnnouncement
  /** Undefined for one that was fetched as a whole. */
  readonly payload: Payload | undefined
  /** How many mixtures we had made when it last moved. */
  readonly seenAt: number
}

/** An author whose news is being fetched. */
interface Pull {
  readonly wanted: Announcement
  readonly signed: SignedAnnouncement
  /** Where it was announced. */
  readonly cell: Cell
  /** Settles when nothing newer is left to fetch; never rejects. */
  done: Promise<void>
}

/** A copy that has not moved for so many rounds of ours is still fresh: peers are not in step. */
const FRESH_ROUNDS = 1
/** Below this weight (6 halvings) a copy is left out of the mixture; it counts as gone. */
const STALE_ROUNDS = FRESH_ROUNDS + 6
/** After so many rounds without a move a copy is forgotten. */
const FORGOTTEN_ROUNDS = 100

/** Followers of an author that are asked for what it made, should it not be there. */
const OTHER_HOLDERS = 3

/** The topic of a cell's announcements; of the root, while all are in one cell. */
export const announcementTopic = (federation: string, cell: Cell = ''): string =>
  `/comigs/${PROTOCOL_VERSION}/${federation.slice(0, 32)}/a${cell}`

/**
 * Delta gossip (CHOCO-SGD, arXiv 1902.00340): each peer publishes the compressed change of its public copy, everyone
 * keeps everyone's copy, and mixing uses copies only.
 */
export function createGossip(init: GossipInit): Gossip {
  const { manifest, initial, wire, pubsub, exchange, signer, clock, events } = init
  const codec = codecOf(manifest.codec)
  const gamma = safeGamma(manifest.codec)
  const federation = manifestHash(manifest)
  let cell: Cell = ''
  let started = false
  const topic = () => announcementTopic(federation, cell)
  const rules = {
    federation: fromString(federation, 'base16'),
    maxPayloadBytes: Math.max(codec.byteLength(initial.length), FULL.byteLength(initial.length)),
  }
  const copies = new Map<string, Copy>()
  /** Why the last attempt to fetch an author's news failed; emptied when one succeeds. */
  const failures = new Map<string, FetchFailure>()
  const pulls = new Map<string, Pull>()
  const isFull = () => new Set([...copies.keys(), ...pulls.keys()]).size >= LIMITS.copies
  /** The highest epoch that the swarm knows of us, should we have lost our state. */
  let ownEpoch = 0
  const limiter = new RateLimiter(
    clock,
    LIMITS.announcementBurst,
    LIMITS.announcementIntervalMs,
    4 * LIMITS.copies,
  )
  const patience = new Patience(clock)
  const arrivals = new Set<() => void>()
  let own: OwnState = init.restored ?? {
    epoch: Math.floor(clock.now() / 1000),
    sequence: 0,
    round: 0,
    copy: initial.slice(),
    announcement: new Uint8Array(),
    payload: new Uint8Array(),
  }
  let ownPayload = payloadOf(own.payload)
  let mixtures = 0
  /** Whom the last mixture left out; they do not count as neighbours. */
  let unheard = NOBODY
  let stopped = false

  const refuse = (reason: RefusalReason, peer: string, detail: string) => {
    events.onRefusal(reason, peer, detail)
  }

  /** Gossipsub asks before it relays. */
  const judge = async (data: Uint8Array, from: string): Promise<Verdict> => {
    events.onTraffic('announcement', 'in', data.byteLength)
    let signed: SignedAnnouncement
    let announcement: Announcement
    try {
      signed = decodeSigned(data)
      announcement = readAnnouncement(signed, rules)
      if (announcement.author !== from) throw new Error('author and sender differ')
    } catch (error) {
      refuse('malformed', from, error instanceof Error ? error.message : String(error))
      return 'reject'
    }
    if (!limiter.take(from)) {
      refuse('rate', from, 'too many announcements')
      return 'ignore'
    }
    if (init.admits?.(from) === false) {
      refuse('stranger', from, 'not on our list')
      return 'ignore'
    }
    if (!(await verifyAnnouncement(signed, from, signer))) {
      refuse('signature', from, 'bad signature')
      return 'reject'
    }
    return consider(announcement, signed) ? 'accept' : 'ignore'
  }

  /** Starts to fetch what an announcement announces, when it is news. */
  const consider = (announcement: Announcement, signed: SignedAnnouncement): boolean => {
    const { author } = announcement
    if (author === wire.self || stopped) return false
    if (!mayBelong(cell, positionOf(author))) {
      refuse('cell', author, `it does not stand in cell "${cell}"`)
      return false
    }
    const known = copies.get(author)
    if (known !== undefined && !isNewer(announcement, known.announced)) return false
    const pending = pulls.get(author)
    if (pending !== undefined && !isNewer(announcement, pending.wanted)) return false
    if (known === undefined && pending === undefined && isFull()) {
      refuse('full', author, `already following ${LIMITS.copies} copies`)
      return false
    }
    void pull(author, announcement, signed)
    return true
  }

  /** Follows an author to what it announced, or on to something newer that was announced meanwhile. */
  const pull = (author: string, wanted: Announcement, signed: SignedAnnouncement): Promise<void> => {
    const pending = pulls.get(author)
    if (pending === undefined) {
      const started: Pull = { wanted, signed, cell, done: Promise.resolve() }
      pulls.set(author, started)
      started.done = pullAll(author)
      return started.done
    }
    if (isNewer(wanted, pending.wanted)) pulls.set(author, { wanted, signed, cell, done: pending.done })
    return pending.done
  }

  const pullAll = async (author: string): Promise<void> => {
    for (;;) {
      const target = pulls.get(author)!
      try {
        await follow(author, target.wanted, target.signed)
      } catch (error) {
        fail(author, reasonOf(error))
        refuse(reasonOf(error), author, error instanceof Error ? error.message : String(error))
      }
      if (pulls.get(author) === target || stopped) break
    }
    pulls.delete(author)
  }

  /**
   * Whether what is being pulled is of our cell still. What was announced in a cell that we have left would never move again,
   * and a straggler, whose rounds are few, would mix it in for long (simulator, seed 118: fifteen of its 26 neighbours).
   */
  const isOurs = (author: string): boolean =>
    pulls.get(author)?.cell === cell || positionOf(author).startsWith(cell)

  /** Remembers why; of the authors that failed last, no more than we follow. */
  const fail = (author: string, reason: FetchFailure): void => {
    if (!isOurs(author)) return
    keepLast(failures, LIMITS.copies, author, reason)
  }

  /** Brings our copy of `author` to what was announced: by the delta when it is the next one, else as a whole. */
  const follow = async (author: string, wanted: Announcement, signed: SignedAnnouncement): Promise<void> => {
    const known = copies.get(author)
    if (known !== undefined && !isNewer(wanted, known.announced)) return
    const before =
      known?.announced.epoch === wanted.epoch
        ? known.announced.sequence + 1 === wanted.sequence
          ? known.values
          : undefined
        : wanted.sequence === 1
          ? initial
          : undefined
    if (wanted.sequence !== 0 && before === undefined) {
      await fetchWhole(author, wanted)
      return
    }
    const payload = await fetchPayload(author, wanted)
    if (payload === undefined) {
      await fetchWhole(author, wanted)
      return
    }
    const { bytes } = payload
    const values = wanted.sequence === 0 ? decodeFull(bytes) : applied(before!, codec, bytes)
    if (!equals(hashOf(values), wanted.copyHash)) {
      // The epoch began with a full copy that we have not seen, or the author's state is torn.
      await fetchWhole(author, wanted)
      return
    }
    take(author, { values, announced: wanted, signed, payload, seenAt: mixtures })
  }

  /** Whom to ask for what an author made: itself, then a few that follow it. */
  const holdersOf = (author: string): string[] => {
    const others = exchange.admitted().filter((peer) => peer !== author)
    // Those whose copies we follow are in the author's cell, as we are.
    const isNear = (peer: string) => Number(copies.has(peer))
    return [author, ...others.sort((a, b) => isNear(b) - isNear(a)).slice(0, OTHER_HOLDERS)]
  }

  /**
   * From whoever has it, each going on where the last one broke off. Undefined when nobody is there, or has it any more:
   * they may have the copy.
   */
  const fetchPayload = async (author: string, wanted: Announcement): Promise<Payload | undefined> => {
    const payload = new PartialPayload(wanted.payloadHash, wanted.length)
    for (let before = -1; before < payload.verified && !stopped;) {
      before = payload.verified
      for (const holder of holdersOf(author)) {
        try {
          await exchange.fetchPayload(holder, payload)
          return payload.whole()
        } catch (error) {
          const isAbsent = isProtocolError(error, 'PEER_UNREACHABLE', 'PEER_TIMEOUT', 'PEER_REFUSED')
          if (holder === author && !isAbsent) throw error
          refuse(reasonOf(error), holder, error instanceof Error ? error.message : String(error))
        }
      }
    }
    return undefined
  }

  /** Fetches one copy as a whole: from its author, else from those who follow it, until it is as new as announced. */
  const fetchWhole = async (author: string, wanted: Announcement): Promise<void> => {
    for (const donor of holdersOf(author)) {
      try {
        const { announcement: signed, bytes } = await exchange.fetchCopy(donor, author, 4 * initial.length)
        const announced = readAnnouncement(signed, rules)
        if (announced.author !== author || !(await verifyAnnouncement(signed, author, signer))) {
          throw new ProtocolError({
            code: 'MESSAGE_MALFORMED',
            what: 'copy',
            reason: 'not signed by its author',
          })
        }
        if (!equals(sha256(bytes), announced.copyHash)) {
          throw new ProtocolError({
            code: 'PAYLOAD_WRONG_HASH',
            peer: donor,
            expected: 'the announced',
            actual: 'another',
          })
        }
        const known = copies.get(author)
        if (known !== undefined && !isNewer(announced, known.announced)) {
          refuse('old', donor, `an old copy of ${author}`)
          continue
        }
        const values = CODECS.float32.decode(bytes, initial.length)
        requireFinite(values)
        take(author, { values, announced, signed, payload: undefined, seenAt: mixtures })
        if (!isNewer(wanted, announced)) return
      } catch (error) {
        if (donor === author) fail(author, reasonOf(error)) // what another's copy of it is like says nothing about it
        refuse(reasonOf(error), donor, error instanceof Error ? error.message : String(error))
      }
    }
  }

  const decodeFull = (payload: Uint8Array): Float32Array => {
    const values = FULL.decode(payload, initial.length)
    requireFinite(values)
    return values
  }

  const take = (author: string, copy: Copy): void => {
    if (!isOurs(author)) return
    copies.set(author, copy)
    failures.delete(author)
    patience.arrived(author)
    events.onCopy(author, copy.announced.round)
    for (const notify of arrivals) notify()
  }

  /** Mixtures that a copy has sat out, in rounds of ours: 0 if it moved since the last. */
  const age = (copy: Copy): number => mixtures - copy.seenAt
  const alive = () => [...copies].filter(([, copy]) => age(copy) <= STALE_ROUNDS)
  const opposed = () => {
    const learnt = difference(own.copy, initial)
    const against = alive().filter(([, { values }]) => isOpposed(difference(values, initial), learnt))
    return against.map(([peer]) => peer)
  }
  const heard = () => alive().filter(([peer]) => !unheard.has(peer))
  const inOrder = <T>(entries: readonly (readonly [string, T])[]) =>
    [...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))

  /** Every author that we know of and do not mix with, and why. */
  const leftOut = (muted: ReadonlySet<string>): MixReport['leftOut'] => {
    const living = new Set(alive().map(([author]) => author))
    return inOrder(
      [...new Set([...copies.keys(), ...pulls.keys(), ...failures.keys()])].map((peer) => [peer, peer]),
    )
      .filter(([peer]) => !living.has(peer) || unheard.has(peer))
      .map(([peer]) => ({
        peer,
        reason: living.has(peer)
          ? muted.has(peer)
            ? 'muted'
            : 'opposed'
          : (failures.get(peer) ?? (pulls.has(peer) ? 'pending' : 'stale')),
      }))
  }

  const consensus = (x: Float32Array): number | undefined => {
    const living = alive()
    if (living.length === 0) return undefined
    const followed = inOrder([
      ...living.map(([peer, { values }]) => [peer, values] as const),
      [wire.self, own.copy],
    ])
    return consensusDistance(
      x,
      followed.map(([, values]) => values),
      initial,
    )
  }

  const announce = async (
    values: Float32Array,
    bytes: Uint8Array,
    position: { readonly epoch: number; readonly sequence: number; readonly round: number },
  ): Promise<void> => {
    const payload = payloadOf(bytes)
    const perplexity = init.perplexity?.()
    const signed = await signAnnouncement(
      {
        version: PROTOCOL_VERSION,
        federation: rules.federation,
        author: wire.self,
        ...position,
        length: bytes.byteLength,
        payloadHash: payload.hash,
        copyHash: hashOf(values),
        degree: heard().length,
        // A model that has gone astray has none, and is not to be refused for it.
        ...(perplexity !== undefined && isPerplexity(perplexity) ? { perplexity } : {}),
      },
      signer,
    )
    const announcement = encodeSigned(signed)
    const next: OwnState = { ...position, copy: values, announcement, payload: bytes }
    // First the disk, then the network: what the swarm was told must survive a crash.
    await init.persist(next)
    own = next
    ownPayload = payload
    patience.published()
    await send(announcement)
  }

  const send = async (announcement: Uint8Array): Promise<void> => {
    events.onTraffic('announcement', 'out', announcement.byteLength)
    await pubsub.publish(topic(), announcement)
  }

  return {
    async start() {
      started = true
      pubsub.subscribe(topic(), judge)
      if (own.announcement.byteLength > 0) await send(own.announcement)
    },

    stop() {
      stopped = true
      pubsub.unsubscribe(topic())
      for (const notify of arrivals) notify()
    },

    enter(next) {
      if (next === cell) return
      if (started) pubsub.unsubscribe(topic())
      cell = next
      if (started) pubsub.subscribe(topic(), judge)
      // What they have taught us is in x, and stays there: leaving a cell moves nobody's x or y.
      for (const author of [...copies.keys(), ...failures.keys()]) {
        if (positionOf(author).startsWith(cell)) continue
        copies.delete(author)
        failures.delete(author)
      }
      for (const notify of arrivals) notify()
    },

    async catchUp(peer) {
      const listed = await exchange.listCopies(peer)
      const wanted: Promise<void>[] = []
      for (const signed of listed) {
        let announcement: Announcement
        try {
          announcement = readAnnouncement(signed, rules)
        } catch (error) {
          refuse('malformed', peer, error instanceof Error ? error.message : String(error))
          continue
        }
        const { author } = announcement
        if (author !== wire.self && !positionOf(author).startsWith(cell)) continue
        const known = copies.get(author)
        if (author === wire.self && (await verifyAnnouncement(signed, author, signer))) {
          ownEpoch = Math.max(ownEpoch, announcement.epoch)
        }
        if (author === wire.self || (known !== undefined && !isNewer(announcement, known.announced))) continue
        if (init.admits?.(author) === false) continue
        if (!(await verifyAnnouncement(signed, author, signer))) {
          refuse('signature', peer, 'bad signature on a listed copy')
          continue
        }
        if (known === undefined && !pulls.has(author) && isFull()) continue
        wanted.push(pull(author, announcement, signed))
      }
      await Promise.all(wanted)
    },

    joinAt() {
      const known = inOrder([...copies]).map(([, copy]) => copy.values)
      return known.length === 0 ? undefined : mean(known)
    },

    async begin(x, atRound) {
      const payload = FULL.encode(x, NO_RANDOM)
      const values = decodeFull(payload)
      // A clock that went back must not bring an old epoch back.
      const epoch = Math.max(Math.floor(clock.now() / 1000), own.epoch + 1, ownEpoch + 1)
      await announce(values, payload, { epoch, sequence: 0, round: atRound })
      return values
    },

    async publish(x, atRound) {
      const payload = codec.encode(difference(x, own.copy), init.random('codec', own.sequence))
      const values = applied(own.copy, codec, payload)
      await announce(values, payload, { epoch: own.epoch, sequence: own.sequence + 1, round: atRound })
      for (const [author, copy] of copies) if (age(copy) > FORGOTTEN_ROUNDS) copies.delete(author)
      return { payloadBytes: payload.byteLength }
    },

    async collect({ maxMs, signal }) {
      const expected = () => alive().filter(([author]) => !patience.hasArrived(author))
      const done = new AbortController()
      const check = () => {
        if (stopped || expected().length === 0) done.abort()
      }
      arrivals.add(check)
      check()
      const waitMs = Math.min(maxMs, patience.deadlineMs())
      const either = signal === undefined ? done.signal : AbortSignal.any([done.signal, signal])
      if (!either.aborted) await clock.sleep(waitMs, either)
      arrivals.delete(check)
    },

    mix(x, muted = NOBODY) {
      patience.close()
      unheard = new Set([...muted, ...(manifest.robust ? opposed() : [])])
      const mixing = inOrder(heard())
      const clips = manifest.robust
        ? clipFactors(
            mixing.map(([, { values }]) => distance(values, own.copy)),
            norm(own.copy),
          )
        : mixing.map(() => 1)
      const mixedWith = mixing.map(([peer, copy], i) => ({
        peer,
        ageRounds: age(copy),
        weight: edgeWeight(mixing.length, copy.announced.degree) * ageDiscount(age(copy), FRESH_ROUNDS),
        clip: clips[i]!,
      }))
      const neighbours = mixing.map(([peer, { values }], i) => {
        const { weight, clip } = mixedWith[i]!
        return { peer, copy: values, weight: weight * clip }
      })
      const centre = own.copy
      const report: MixReport = {
        increment: mixingIncrement(centre, neighbours, gamma),
        mixedWith,
        leftOut: leftOut(muted),
        contribution: (of) =>
          mixingIncrement(
            centre,
            neighbours.filter(({ peer }) => peer === of),
            gamma,
          ),
        consensusDistance: consensus(x),
      }
      mixtures++
      return report
    },

    consensus,

    holdings: {
      payload(hash) {
        const held = [ownPayload, ...[...copies.values()].map(({ payload }) => payload)]
        return held.find((payload) => payload !== undefined && equals(payload.hash, hash))
      },
      copy(author) {
        if (author === wire.self) {
          if (own.announcement.byteLength === 0) return undefined
          return { announcement: decodeSigned(own.announcement), bytes: bytesOf(own.copy) }
        }
        const copy = copies.get(author)
        return copy === undefined ? undefined : { announcement: copy.signed, bytes: bytesOf(copy.values) }
      },
      announcements() {
        const followed = [...copies.values()].map(({ signed }) => signed)
        return own.announcement.byteLength === 0 ? followed : [decodeSigned(own.announcement), ...followed]
      },
    },

    pulling: () => pulls.size,

    neighbours: () =>
      inOrder([...copies]).map(([peer, copy]) => ({
        peer,
        round: copy.announced.round,
        ageRounds: age(copy),
      })),

    perplexities: () =>
      alive()
        .flatMap(([, { announced }]) => announced.perplexity ?? [])
        .sort((a, b) => a - b),
  }
}

/** How a full copy is written down: near enough to start from; what is lost goes out with the next delta. */
const FULL: Codec = CODECS.float16

const NOBODY: ReadonlySet<string> = new Set()

/** For codecs that round to nearest. */
const NO_RANDOM: Random = () => 0.5

/** y + Q, in float32, element by element: the same bits wherever it is done. */
function applied(copy: Float32Array, codec: Codec, payload: Uint8Array): Float32Array {
  const values = codec.decode(payload, copy.length)
  for (let k = 0; k < values.length; k++) values[k]! += copy[k]!
  requireFinite(values)
  return values
}

const bytesOf = (values: Float32Array): Uint8Array => CODECS.float32.encode(values, NO_RANDOM)

const hashOf = (values: Float32Array): Uint8Array => sha256(bytesOf(values))

export function reasonOf(error: unknown): FetchFailure {
  if (!isProtocolError(error)) return 'unreachable'
  switch (error.detail.code) {
    case 'PAYLOAD_WRONG_HASH':
      return 'hash'
    case 'PAYLOAD_WRONG_LENGTH':
      return 'length'
    case 'PAYLOAD_NON_FINITE':
      return 'non-finite'
    case 'PAYLOAD_MALFORMED':
    case 'MESSAGE_MALFORMED':
    case 'MANIFEST_INVALID':
    case 'MANIFEST_MISMATCH':
    case 'FEDERATION_UNEXPECTED':
      return 'malformed'
    case 'PEER_TIMEOUT':
      return 'timeout'
    case 'PEER_OPPOSED':
      return 'opposed'
    case 'PEER_REFUSED':
      return 'refused'
    case 'PEER_UNREACHABLE':
      return 'unreachable'
  }
}
