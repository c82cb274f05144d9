import { equals } from 'uint8arrays/equals'
import { type Codec, requireFinite } from './codec/codec.ts'
import { isProtocolError, ProtocolError } from './errors.ts'
import type { Direction } from './exchange.ts'
import { type FetchFailure, type RefusalReason, reasonOf } from './gossip.ts'
import { keepLast } from './keep-last.ts'
import { LIMITS } from './limits.ts'
import { PROTOCOL_VERSION } from './manifest.ts'
import { added, clipFactors, difference, distance, isOpposed, norm, scaled } from './mixing.ts'
import { AverageDone, AverageHeader, Status } from './pb/messages.ts'
import { sha256 } from './payload.ts'
import { converse, type Dialogue, leastProgress, openWithin } from './stream.ts'
import type { Clock, Random, Wire, WireStream } from './wire.ts'

export interface AveragingInit {
  /** y(0): what is exchanged is the distance from it, so that rounding is relative to what was learnt. */
  readonly initial: Float32Array
  /**
   * How the asking side writes it down: float16, or int8, which is unbiased and half as long. int8's rounding is 0.6 % of the
   * distance from y(0): more than what is left to agree on, some time. See `halfWay`.
   */
  readonly codec: Codec
  /**
   * How the answering side writes down how far it stands from that: rounding is then relative to what is left to agree on,
   * so that int4 is enough where the other side is int8.
   */
  readonly differenceCodec: Codec
  readonly wire: Wire
  readonly clock: Clock
  readonly random: Random
  /** Whether a peer is of our federation; only those are answered. */
  isAdmitted(peer: string): boolean
  /** Peers outside of our cell; only these are asked. None while there is only one cell. */
  outsiders(): readonly string[]
  /**
   * Whether strangers are kept from moving us further than usual, and those who have learnt against us from moving us at all.
   * What is cut off is lost to the sum.
   */
  readonly robust: boolean
  readonly events: {
    onTraffic(kind: 'average', direction: Direction, bytes: number): void
    onRefusal(reason: RefusalReason, peer: string, detail: string): void
  }
}

/** What came of an exchange. */
export interface Averaged {
  readonly peer: string
  /** To be added to x. */
  readonly increment: Float32Array
  /** What of it was left: 1, or less where it would have moved us further than usual. */
  readonly clip: number
}

/**
 * Why asking came to nothing: there is nobody outside of our cell, nobody there but peers with whom an exchange was given up in the
 * last minutes, all had averaged already, it is not over yet, or the last that was asked could not be had. Labels of a metric: keep the list short.
 */
export type NotAveraged = 'alone' | 'paused' | 'busy' | 'pending' | FetchFailure

export const AVERAGE_PROTOCOL = `/comigs/${PROTOCOL_VERSION}/average`

/**
 * Pairwise gossip averaging (Boyd et al. 2006) between cells: once a round we ask a peer outside our own, and answer one.
 * x is sent as it stood when the round began, and answered with the difference to it; each side adds half of that to its x at
 * its next round boundary. Both take it from the answer as it was written down, so that what one gains the other loses, exactly.
 */
export interface Averaging {
  start(): Promise<void>
  stop(): Promise<void>
  /** A round begins with `x`. Returns at once; what comes of it is there when the round's training is done. */
  offer(x: Float32Array): void
  /** What came since it was last asked: two at most. */
  take(): readonly Averaged[]
  /** Why the round has asked in vain so far; undefined when it has not. */
  whyNot(): NotAveraged | undefined
}

/** A peer that has answered somebody in its round already is not waited for: we try another. */
const TRIES = 8
/** When in a round we ask, as a share of its length: at random, so that not all ask at once. */
const SPREAD = 0.5
const FIRST_SPREAD_MS = 1000
const LONGEST_SPREAD_MS = 60_000

/** Increments that make the usual one, and how few are too few. */
const REMEMBERED = 16
const FEW = 3

type Role = 'asking' | 'answering'
type Place = 'free' | 'in use' | 'used'

/** A round's x. */
interface Offer {
  /** The distance from y(0). */
  readonly own: Float32Array
  /** Written down when somebody is asked. */
  written(): Written
}

interface Written {
  /** What the payload says. */
  readonly values: Float32Array
  readonly payload: Uint8Array
  readonly hash: Uint8Array
  /** Squared length of what rounding added. */
  readonly noise: number
}

export function createAveraging(init: AveragingInit): Averaging {
  const { initial, codec, differenceCodec, wire, clock, random, events } = init
  const stopped = new AbortController()
  let offered: Offer | undefined
  let offeredAt: number | undefined
  /** Each is used by one exchange a round. */
  const places: Record<Role, Place> = { asking: 'used', answering: 'used' }
  let results: readonly Averaged[] = []
  let whyNot: NotAveraged | undefined
  /** Of the last increments, as they would have been. */
  const lengths: number[] = []

  /** With whom an exchange was given up, and when: who dawdles, or lies, must not have a place again and again. */
  const givenUp = new Map<string, number>()
  const mayAverage = (peer: string) =>
    clock.now() - (givenUp.get(peer) ?? -Infinity) >= LIMITS.averagingPauseMs

  const refuse = (error: unknown, peer: string) => {
    if (isProtocolError(error, 'PEER_TIMEOUT', 'PEER_OPPOSED'))
      keepLast(givenUp, LIMITS.copies, peer, clock.now())
    events.onRefusal(reasonOf(error), peer, error instanceof Error ? error.message : String(error))
  }

  /** Runs an exchange in its place of the round. @returns whether anything came of it */
  const inPlace = async (role: Role, exchange: () => Promise<Averaged | undefined>): Promise<boolean> => {
    places[role] = 'in use'
    try {
      const averaged = await exchange()
      if (averaged !== undefined) results = [...results, averaged]
      places[role] = averaged === undefined ? 'free' : 'used'
      return averaged !== undefined
    } catch (error) {
      places[role] = 'free'
      throw error
    }
  }

  /** In so many bytes a progress timeout all of them pass in time. */
  const least = leastProgress(
    codec.byteLength(initial.length) + differenceCodec.byteLength(initial.length),
    LIMITS.averagingMs,
  )
  const exchange = (
    stream: WireStream,
    peer: string,
    talk: (dialogue: Dialogue) => Promise<Averaged | undefined>,
  ) => converse(stream, clock, peer, 'averaging', talk, least)

  const ask = (peer: string, { own, written }: Offer) =>
    inPlace('asking', async () => {
      const stream = await openWithin(wire, clock, peer, AVERAGE_PROTOCOL, stopped.signal)
      try {
        return await exchange(stream, peer, async (dialogue) => {
          const { say, hear } = counted(dialogue)
          const ours = written()
          say(headerOf(ours))
          const { status } = readHeader(await hear())
          if (status === Status.BUSY) return undefined
          requireOk(peer, status)
          sayPayload(say, ours)
          const header = requireHeader(peer, readHeader(await hear()), differenceCodec)
          const difference = await hearPayload(peer, header, differenceCodec, hear)
          requireAgreeable(peer, own, () => added(ours.values, difference))
          // Nothing changes here before the other side has said that it knows. (Should exactly this last message get lost, only
          // the other side moves: no protocol can exclude that.)
          say(AverageDone.encode({ hash: header.hash }))
          requireDone(await hear(), ours.hash)
          return averagedBy(peer, own, difference, halfWay(difference, ours.noise + header.noise))
        })
      } finally {
        await stream.close().catch(() => undefined)
      }
    })

  const answer = (peer: string, stream: WireStream, own: Float32Array) =>
    inPlace('answering', () =>
      exchange(stream, peer, async (dialogue) => {
        const { say, hear } = counted(dialogue)
        const header = requireHeader(peer, readHeader(await hear()), codec)
        say(statusOnly(Status.OK))
        const theirs = await hearPayload(peer, header, codec, hear)
        requireAgreeable(peer, own, () => theirs)
        const answered = writeDown(difference(own, theirs), differenceCodec)
        // Beyond what float16 can say: it is they who are there.
        requireFinite(answered.values)
        say(headerOf(answered))
        sayPayload(say, answered)
        requireDone(await hear(), answered.hash)
        say(AverageDone.encode({ hash: header.hash }))
        const { values, noise } = answered
        return averagedBy(peer, own, values, -halfWay(values, header.noise + noise))
      }),
    )

  /** Before anything is said to be done: neither side moves then. */
  const requireAgreeable = (peer: string, own: Float32Array, theirs: () => Float32Array): void => {
    if (init.robust && isOpposed(own, theirs())) throw new ProtocolError({ code: 'PEER_OPPOSED', peer })
  }

  const averagedBy = (peer: string, own: Float32Array, difference: Float32Array, part: number): Averaged => {
    const increment = scaled(difference, part)
    const clip = init.robust ? clipOf(increment, own) : 1
    return { peer, increment: clip === 1 ? increment : scaled(increment, clip), clip }
  }

  /** Less than 1 for what would move us further than usual; while nothing is usual yet, further than we have come. */
  const clipOf = (increment: Float32Array, own: Float32Array): number => {
    const length = norm(increment)
    if (length === 0) return 1
    const learnt = norm(own)
    const factor =
      lengths.length < FEW ? Math.min(1, learnt / length) : clipFactors([...lengths, length], learnt).at(-1)!
    lengths.push(length)
    if (lengths.length > REMEMBERED) lengths.shift()
    return factor
  }

  const counted = ({ say, hear }: Dialogue): Dialogue => ({
    say(frame) {
      events.onTraffic('average', 'out', frame.byteLength)
      say(frame)
    },
    async hear() {
      const frame = await hear()
      events.onTraffic('average', 'in', frame.byteLength)
      return frame
    },
  })

  const writeDown = (vector: Float32Array, as: Codec): Written => {
    const one = written(vector, as, random)
    return { ...one, hash: sha256(one.payload) }
  }

  const requireHeader = (peer: string, header: AverageHeader, as: Codec): AverageHeader => {
    const { status, length, noise } = header
    requireOk(peer, status)
    if (!(noise >= 0)) throw malformed(`a noise of ${noise}`)
    const expected = as.byteLength(initial.length)
    if (length === expected) return header
    throw new ProtocolError({ code: 'PAYLOAD_WRONG_LENGTH', peer, expected, actual: length })
  }

  const hearPayload = async (
    peer: string,
    { length, hash }: AverageHeader,
    as: Codec,
    hear: Dialogue['hear'],
  ): Promise<Float32Array> => {
    const payload = new Uint8Array(length)
    for (let at = 0; at < length;) {
      const frame = await hear()
      if (frame.byteLength === 0) throw malformed('an empty frame')
      const actual = at + frame.byteLength
      if (actual > length)
        throw new ProtocolError({ code: 'PAYLOAD_WRONG_LENGTH', peer, expected: length, actual })
      payload.set(frame, at)
      at = actual
    }
    if (!equals(sha256(payload), hash)) {
      const hashes = { expected: 'the announced', actual: 'another' }
      throw new ProtocolError({ code: 'PAYLOAD_WRONG_HASH', peer, ...hashes })
    }
    const values = as.decode(payload, initial.length)
    requireFinite(values)
    return values
  }

  /** Asks one after the other, until one has time. */
  const seek = async (ours: Offer, spreadMs: number): Promise<void> => {
    await clock.sleep(random() * spreadMs, stopped.signal)
    const outsiders = init.outsiders()
    const candidates = shuffled(outsiders.filter(mayAverage), random).slice(0, TRIES)
    if (candidates.length === 0) whyNot = outsiders.length === 0 ? 'alone' : 'paused'
    for (const peer of candidates) {
      if (places.asking !== 'free' || stopped.signal.aborted) return
      try {
        const isDone = await ask(peer, ours)
        whyNot = isDone ? undefined : 'busy'
        if (isDone) return
      } catch (error) {
        whyNot = reasonOf(error)
        refuse(error, peer)
      }
    }
  }

  return {
    async start() {
      await wire.handle(AVERAGE_PROTOCOL, async (stream, peer) => {
        const decline = (status: Status) =>
          converse(stream, clock, peer, 'averaging', async ({ say }) => {
            say(statusOnly(status))
          })
        if (!init.isAdmitted(peer)) return decline(Status.WRONG_FEDERATION)
        if (places.answering !== 'free' || offered === undefined || !mayAverage(peer))
          return decline(Status.BUSY)
        try {
          await answer(peer, stream, offered.own)
        } catch (error) {
          refuse(error, peer)
        }
      })
    },

    async stop() {
      stopped.abort()
      await wire.unhandle(AVERAGE_PROTOCOL)
    },

    offer(x) {
      const now = clock.now()
      const spreadMs = offeredAt === undefined ? FIRST_SPREAD_MS : SPREAD * (now - offeredAt)
      offeredAt = now
      // Where an exchange of the last round is still under way, this round goes without.
      for (const role of ['asking', 'answering'] as const)
        if (places[role] !== 'in use') places[role] = 'free'
      const own = difference(x, initial)
      whyNot = 'pending'
      offered = { own, written: once(() => writeDown(own, codec)) }
      if (places.asking === 'free') void seek(offered, Math.min(spreadMs, LONGEST_SPREAD_MS))
    },

    take() {
      const taken = results
      results = []
      return taken
    },

    whyNot: () => whyNot,
  }
}

/** A vector as a payload says it. */
export function written(vector: Float32Array, as: Codec, random: Random): Omit<Written, 'hash'> {
  const payload = as.encode(vector, random)
  const values = as.decode(payload, vector.length)
  return { values, payload, noise: distance(values, vector) ** 2 }
}

/**
 * How much of a difference to go: half of what to believe of it, when so much of its square is rounding: the estimator of James and Stein (1961).
 * Without it rounding is all that is exchanged once peers agree to within it, and they never agree better. The same from
 * both sides.
 */
export function halfWay(difference: Float32Array, noise: number): number {
  const squared = norm(difference) ** 2
  return squared > noise ? 0.5 * (1 - noise / squared) : 0
}

const headerOf = ({ payload, hash, noise }: Written): Uint8Array =>
  AverageHeader.encode({ status: Status.OK, length: payload.byteLength, hash, noise })

const statusOnly = (status: Status): Uint8Array =>
  AverageHeader.encode({ status, length: 0, hash: new Uint8Array(), noise: 0 })

function requireOk(peer: string, status: Status): void {
  if (status !== Status.OK) throw new ProtocolError({ code: 'PEER_REFUSED', peer, what: 'averaging', status })
}

function sayPayload(say: Dialogue['say'], { payload }: Written): void {
  for (let at = 0; at < payload.byteLength; at += LIMITS.frameBytes)
    say(payload.subarray(at, at + LIMITS.frameBytes))
}

const malformed = (reason: string, cause?: unknown) =>
  new ProtocolError({ code: 'MESSAGE_MALFORMED', what: 'averaging message', reason }, { cause })

function readHeader(frame: Uint8Array): AverageHeader {
  try {
    return AverageHeader.decode(frame)
  } catch (error) {
    throw malformed('not a header', error)
  }
}

function requireDone(frame: Uint8Array, hash: Uint8Array): void {
  try {
    if (equals(AverageDone.decode(frame).hash, hash)) return
  } catch (error) {
    throw malformed('not a "done"', error)
  }
  throw malformed('it is not done')
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => (made ??= { value: make() }).value
}

/** Fisher and Yates. */
export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const order = [...items]
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  return order
}
