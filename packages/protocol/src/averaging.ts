import { equals } from 'uint8arrays/equals'
import { type Codec, requireFinite } from './codec/codec.ts'
import { ProtocolError } from './errors.ts'
import type { Direction } from './exchange.ts'
import { type RefusalReason, reasonOf } from './gossip.ts'
import { LIMITS } from './limits.ts'
import { PROTOCOL_VERSION } from './manifest.ts'
import { clipFactors, distance, norm } from './mixing.ts'
import { AverageDone, AverageHeader, Status } from './pb/messages.ts'
import { sha256 } from './payload.ts'
import { converse, type Dialogue, openWithin } from './stream.ts'
import type { Clock, Random, Wire } from './wire.ts'

export interface AveragingInit {
  /** y(0): what is exchanged is the distance from it, so that rounding is relative to what was learnt. */
  readonly initial: Float32Array
  /**
   * How it is written down: float16, or int8, which is unbiased and half as long. int8's rounding is 0.6 % of the distance
   * from y(0): more than what is left to agree on, some time. See `shrinkage`.
   */
  readonly codec: Codec
  readonly wire: Wire
  readonly clock: Clock
  readonly random: Random
  /** Whether a peer is of our federation; only those are answered. */
  isAdmitted(peer: string): boolean
  /** Peers outside of our cell; only these are asked. None while there is only one cell. */
  outsiders(): readonly string[]
  /** Whether strangers are kept from moving us further than usual. What is cut off is lost to the sum. */
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

export const AVERAGE_PROTOCOL = `/comigs/${PROTOCOL_VERSION}/average`

/**
 * Pairwise gossip averaging (Boyd et al. 2006) between cells: once a round we ask a peer outside our own, and answer one.
 * Both sides send x as it stood when their round began; each adds half the difference to its x at its next round
 * boundary. Both compute it from both vectors as they were written down, so that what one gains the other loses, exactly.
 */
export interface Averaging {
  start(): Promise<void>
  stop(): Promise<void>
  /** A round begins with `x`. Returns at once; what comes of it is there when the round's training is done. */
  offer(x: Float32Array): void
  /** What came since it was last asked: two at most. */
  take(): readonly Averaged[]
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

/** A round's x, as it is written down. */
interface Offer {
  readonly values: Float32Array
  readonly payload: Uint8Array
  readonly hash: Uint8Array
  /** Squared length of what rounding added. */
  readonly noise: number
}

export function createAveraging(init: AveragingInit): Averaging {
  const { initial, codec, wire, clock, random, events } = init
  const payloadBytes = codec.byteLength(initial.length)
  const stopped = new AbortController()
  /** Written down when it is first needed. */
  let offered: (() => Offer) | undefined
  let offeredAt: number | undefined
  /** Each is used by one exchange a round. */
  const places: Record<Role, Place> = { asking: 'used', answering: 'used' }
  let results: readonly Averaged[] = []
  /** Of the last increments, as they would have been. */
  const lengths: number[] = []

  const refuse = (error: unknown, peer: string) => {
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

  const ask = (peer: string, ours: Offer) =>
    inPlace('asking', async () => {
      const stream = await openWithin(wire, clock, peer, AVERAGE_PROTOCOL, stopped.signal)
      try {
        return await converse(stream, clock, peer, 'averaging', async (dialogue) => {
          const { say, hear } = counted(dialogue)
          say(headerOf(ours))
          const header = readHeader(await hear())
          if (header.status === Status.BUSY) return undefined
          requireHeader(peer, header)
          sayPayload(say, ours)
          return finish(peer, ours, header, { say, hear })
        })
      } finally {
        await stream.close().catch(() => undefined)
      }
    })

  const finish = async (
    peer: string,
    ours: Offer,
    { hash, noise }: AverageHeader,
    { say, hear }: Dialogue,
  ): Promise<Averaged> => {
    const theirs = await hearPayload(peer, hash, hear)
    say(AverageDone.encode({ hash }))
    // Nothing changes here before the other side has said that it has everything, too. (Should exactly this last message
    // get lost, only the other side moves: no protocol can exclude that.)
    requireDone(await hear(), ours.hash)
    const half = 0.5 * shrinkage(theirs, ours.values, noise + ours.noise)
    const increment = theirs.map((value, k) => half * (value - ours.values[k]!))
    const clip = init.robust ? clipOf(increment, ours.values) : 1
    return { peer, increment: clip === 1 ? increment : increment.map((value) => clip * value), clip }
  }

  /** Less than 1 for what would move us further than usual; while nothing is usual yet, further than we have come. */
  const clipOf = (increment: Float32Array, own: Float32Array): number => {
    const length = norm(increment)
    if (length === 0) return 1
    const learnt = norm(own)
    const factor =
      lengths.length < FEW
        ? Math.min(1, learnt / length)
        : clipFactors([...lengths, length], learnt).at(-1)!
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

  const headerOf = ({ payload, hash, noise }: Offer): Uint8Array =>
    AverageHeader.encode({ status: Status.OK, length: payload.byteLength, hash, noise })

  const requireHeader = (peer: string, { status, length, noise }: AverageHeader): void => {
    if (status !== Status.OK)
      throw new ProtocolError({ code: 'PEER_REFUSED', peer, what: 'averaging', status })
    if (!(noise >= 0)) throw malformed(`a noise of ${noise}`)
    if (length === payloadBytes) return
    throw new ProtocolError({ code: 'PAYLOAD_WRONG_LENGTH', peer, expected: payloadBytes, actual: length })
  }

  const sayPayload = (say: Dialogue['say'], { payload }: Offer): void => {
    for (let at = 0; at < payload.byteLength; at += LIMITS.frameBytes)
      say(payload.subarray(at, at + LIMITS.frameBytes))
  }

  const hearPayload = async (
    peer: string,
    hash: Uint8Array,
    hear: Dialogue['hear'],
  ): Promise<Float32Array> => {
    const payload = new Uint8Array(payloadBytes)
    for (let at = 0; at < payloadBytes;) {
      const frame = await hear()
      if (frame.byteLength === 0) throw malformed('an empty frame')
      const actual = at + frame.byteLength
      if (actual > payloadBytes)
        throw new ProtocolError({ code: 'PAYLOAD_WRONG_LENGTH', peer, expected: payloadBytes, actual })
      payload.set(frame, at)
      at = actual
    }
    if (!equals(sha256(payload), hash)) {
      const hashes = { expected: 'the announced', actual: 'another' }
      throw new ProtocolError({ code: 'PAYLOAD_WRONG_HASH', peer, ...hashes })
    }
    const values = codec.decode(payload, initial.length)
    requireFinite(values)
    return values
  }

  /** Asks one after the other, until one has time. */
  const seek = async (written: () => Offer, spreadMs: number): Promise<void> => {
    await clock.sleep(random() * spreadMs, stopped.signal)
    const candidates = shuffled(init.outsiders(), random).slice(0, TRIES)
    for (const peer of candidates) {
      if (places.asking !== 'free' || stopped.signal.aborted) return
      try {
        if (await ask(peer, written())) return
      } catch (error) {
        refuse(error, peer)
      }
    }
  }

  return {
    async start() {
      await wire.handle(AVERAGE_PROTOCOL, async (stream, peer) => {
        const decline = (status: Status) =>
          converse(stream, clock, peer, 'averaging', async ({ say }) => {
            say(AverageHeader.encode({ status, length: 0, hash: new Uint8Array(), noise: 0 }))
          })
        if (!init.isAdmitted(peer)) return decline(Status.WRONG_FEDERATION)
        const written = offered
        if (places.answering !== 'free' || written === undefined) return decline(Status.BUSY)
        try {
          await inPlace('answering', () =>
            converse(stream, clock, peer, 'averaging', async (dialogue) => {
              const { say, hear } = counted(dialogue)
              const header = readHeader(await hear())
              requireHeader(peer, header)
              const ours = written()
              say(headerOf(ours))
              sayPayload(say, ours)
              return finish(peer, ours, header, { say, hear })
            }),
          )
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
      const written = once(() => {
        const difference = x.map((value, k) => value - initial[k]!)
        const payload = codec.encode(difference, random)
        const values = codec.decode(payload, x.length)
        return { values, payload, hash: sha256(payload), noise: distance(values, difference) ** 2 }
      })
      offered = written
      if (places.asking === 'free') void seek(written, Math.min(spreadMs, LONGEST_SPREAD_MS))
    },

    take() {
      const taken = results
      results = []
      return taken
    },
  }
}

/**
 * How much of the difference of two vectors to believe, when so much of its square is rounding: the estimator of James and
 * Stein (1961). Without it rounding is all that is exchanged once peers agree to within it, and they never agree better.
 * The same from both sides.
 */
function shrinkage(a: Float32Array, b: Float32Array, noise: number): number {
  const squared = distance(a, b) ** 2
  return squared > noise ? 1 - noise / squared : 0
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
function shuffled<T>(items: readonly T[], random: Random): T[] {
  const order = [...items]
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  return order
}
