import * as lp from 'it-length-prefixed'
import { pipe } from 'it-pipe'
import { Uint8ArrayList } from 'uint8arraylist'
import { isProtocolError, ProtocolError } from './errors.ts'
import { LIMITS } from './limits.ts'
import type { Clock, Wire, WireStream } from './wire.ts'

type Frame = Uint8Array | Uint8ArrayList

const flat = (frame: Frame): Uint8Array => (frame instanceof Uint8ArrayList ? frame.subarray() : frame)

/** A reason to abort that is nobody's error; without one, Node makes an error with a stack each time. */
const OVER = 'over'

/** Bytes a progress timeout with which so many pass in so long; never fewer than are next to nothing. */
export const leastProgress = (bytes: number, withinMs: number): number =>
  Math.max(LIMITS.progressBytes, bytes * (LIMITS.progressTimeoutMs / withinMs))

interface Watchdog {
  moved(bytes: number): void
  /** So many are to come, in less than `LIMITS.bodyMs`. */
  expect(bytes: number): void
  stop(): void
}

/**
 * Looks each progress timeout how many bytes have moved, and calls `give up` when it is none; or once too often fewer than
 * `least`, or a byte now and then would hold a stream open for hours.
 */
function watch(clock: Clock, giveUp: () => void, least: number = LIMITS.progressBytes): Watchdog {
  const done = new AbortController()
  let bytes = 0
  const look = async (): Promise<void> => {
    for (let lean = 0; ; bytes = 0) {
      await clock.sleep(LIMITS.progressTimeoutMs, done.signal)
      if (done.signal.aborted) return
      if (bytes < least) lean++
      if (bytes === 0 || lean > LIMITS.leanTimeouts) break
    }
    giveUp()
  }
  void look()
  return {
    moved: (count) => {
      bytes += count
    },
    expect: (total) => {
      least = leastProgress(total, LIMITS.bodyMs)
    },
    stop: () => {
      done.abort(OVER)
    },
  }
}

export interface Answer {
  /** The encoded header message. */
  readonly header: Uint8Array
  /** Raw bytes that follow it. */
  readonly body: Uint8Array
}

/** Tells how much of a source has come. */
async function* counted(
  source: AsyncIterable<Frame>,
  moved: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    moved(chunk.byteLength)
    yield chunk as Uint8Array
  }
}

export interface AskOptions {
  readonly signal?: AbortSignal | undefined
  /** How many raw bytes the header promises, or where to put them; throws when the header is a refusal. */
  bodyBytes(header: Uint8Array): number | Uint8Array
  /** So many of them have come; throws when they are wrong. */
  onBody?(bytes: number): void
}

/**
 * One request, one answer: a framed message out; a framed header and then exactly as many raw bytes as it promises back.
 * Nothing is read beyond that, and a peer that stops moving, or hardly moves, is given up.
 * @throws ProtocolError `PEER_UNREACHABLE`, `PEER_TIMEOUT`, `PAYLOAD_WRONG_LENGTH`, `MESSAGE_MALFORMED`
 */
export async function ask(
  wire: Wire,
  clock: Clock,
  peer: string,
  protocol: string,
  request: Uint8Array,
  options: AskOptions,
): Promise<Answer> {
  const stream = await openWithin(wire, clock, peer, protocol, options.signal)
  const timeout = new ProtocolError({
    code: 'PEER_TIMEOUT',
    peer,
    what: protocol,
    afterMs: LIMITS.progressTimeoutMs,
  })
  const late = new AbortController()
  const watchdog = watch(clock, () => {
    late.abort(OVER)
    stream.abort(timeout)
  })
  const onAbort = () => {
    stream.abort(new Error('aborted'))
  }
  options.signal?.addEventListener('abort', onAbort)
  try {
    return await pipe(
      [request],
      (source) => lp.encode(source),
      stream,
      (source) => readAnswer(source, peer, options, watchdog),
    )
  } catch (error) {
    stream.abort(error instanceof Error ? error : new Error(String(error)))
    if (late.signal.aborted) throw timeout
    if (options.signal?.aborted === true) throw error
    throw inOurWords(peer, error)
  } finally {
    watchdog.stop()
    options.signal?.removeEventListener('abort', onAbort)
    await stream.close().catch(() => undefined)
  }
}

async function readAnswer(
  source: AsyncIterable<Frame>,
  peer: string,
  options: AskOptions,
  watchdog: Watchdog,
): Promise<Answer> {
  let header: Uint8Array | undefined
  let body: Uint8Array = new Uint8Array()
  let at = 0
  const frames = lp.decode(counted(source, watchdog.moved), { maxDataLength: LIMITS.frameBytes })
  for await (const frame of frames) {
    if (header === undefined) {
      header = flat(frame)
      if (header.byteLength > LIMITS.answerBytes) throw malformed(`a header of ${header.byteLength} bytes`)
      const promised = options.bodyBytes(header)
      body = typeof promised === 'number' ? new Uint8Array(promised) : promised
      watchdog.expect(body.byteLength)
    } else {
      // Nobody needs one, and a stream of them would never end.
      if (frame.byteLength === 0) throw malformed('an empty frame')
      if (at + frame.byteLength > body.byteLength) {
        throw new ProtocolError({
          code: 'PAYLOAD_WRONG_LENGTH',
          peer,
          expected: body.byteLength,
          actual: at + frame.byteLength,
        })
      }
      body.set(flat(frame), at)
      at += frame.byteLength
      options.onBody?.(at)
    }
    if (at === body.byteLength) return { header, body }
  }
  throw new Error(
    header === undefined
      ? 'the stream ended before the header'
      : `the stream ended after ${at} of ${body.byteLength} bytes`,
  )
}

/**
 * What it-length-prefixed says about frames that are none. A stream that ends too early is none of it: that is how it looks
 * from here when a connection breaks, or when the other side is killed, which happens to honest peers.
 */
const FRAMING_ERRORS = ['InvalidDataLengthError', 'InvalidDataLengthLengthError', 'InvalidMessageLengthError']

/** Whether a stream broke because of what the peer sent. */
export const isMalformed = (error: unknown): error is Error =>
  isProtocolError(error, 'MESSAGE_MALFORMED') ||
  (error instanceof Error && FRAMING_ERRORS.includes(error.name))

/** A stream that breaks: because of what the peer sent, or because the way to it is lost. */
function inOurWords(peer: string, error: unknown): ProtocolError {
  if (error instanceof ProtocolError) return error
  const { message } = error instanceof Error ? error : new Error(String(error))
  if (isMalformed(error)) return malformed(message, error)
  return new ProtocolError(
    { code: 'PEER_UNREACHABLE', peer, stage: 'protocol', reason: message },
    { cause: error },
  )
}

const malformed = (reason: string, cause?: unknown) =>
  new ProtocolError({ code: 'MESSAGE_MALFORMED', what: 'answer', reason }, { cause })

export async function openWithin(
  wire: Wire,
  clock: Clock,
  peer: string,
  protocol: string,
  signal: AbortSignal | undefined,
): Promise<WireStream> {
  const opened = new AbortController()
  const late = new AbortController()
  void clock.sleep(LIMITS.openTimeoutMs, opened.signal).then(() => {
    late.abort(OVER)
  })
  try {
    return await wire.open(peer, protocol, {
      signal: signal ? AbortSignal.any([signal, late.signal]) : late.signal,
    })
  } finally {
    opened.abort(OVER)
  }
}

/** What a handler answers: a header message and the bytes behind it. */
export interface Reply {
  readonly header: Uint8Array
  readonly body?: Uint8Array | undefined
}

/**
 * The other side of `ask`: reads one bounded request, writes the reply in frames, gives up on a peer that does not read.
 * @throws whatever the stream or `answer` throws; the caller aborts the stream
 */
export async function reply(
  stream: WireStream,
  clock: Clock,
  maxRequestBytes: number,
  answer: (request: Uint8Array) => Reply,
): Promise<void> {
  const watchdog = watch(clock, () => {
    stream.abort(new Error('no progress'))
  })
  try {
    await pipe(
      stream,
      (source) => lp.decode(source as AsyncIterable<Uint8Array>, { maxDataLength: maxRequestBytes }),
      async function* (requests) {
        for await (const request of requests) {
          const { header, body } = answer(flat(request))
          yield header
          watchdog.moved(header.byteLength)
          watchdog.expect(body?.byteLength ?? 0)
          for (let at = 0; body !== undefined && at < body.byteLength; at += LIMITS.frameBytes) {
            const frame = body.subarray(at, at + LIMITS.frameBytes)
            yield frame
            watchdog.moved(frame.byteLength)
          }
          return
        }
      },
      (source) => lp.encode(source),
      stream,
    )
  } finally {
    watchdog.stop()
  }
}

/** A stream on which both sides have more than one thing to say. */
export interface Dialogue {
  /** Queues a frame. */
  say(frame: Uint8Array): void
  /** The next frame. @throws ProtocolError when the other side ends, breaks or stops moving */
  hear(): Promise<Uint8Array>
}

/**
 * Runs a dialogue and sees that what was said is sent before it returns. A peer that moves nothing, or too often fewer than
 * `least` bytes a progress timeout, is given up, and when anything goes wrong the stream is aborted, so that the other side knows.
 * @throws ProtocolError as `ask` does, and whatever `talk` throws
 */
export async function converse<T>(
  stream: WireStream,
  clock: Clock,
  peer: string,
  what: string,
  talk: (dialogue: Dialogue) => Promise<T>,
  least?: number,
): Promise<T> {
  const timeout = new ProtocolError({
    code: 'PEER_TIMEOUT',
    peer,
    what,
    afterMs: LIMITS.progressTimeoutMs,
  })
  const late = new AbortController()
  const giveUp = () => {
    late.abort(OVER)
    stream.abort(timeout)
  }
  const watchdog = watch(clock, giveUp, least)
  const queue: Uint8Array[] = []
  let isOver = false
  let wake = (): void => undefined
  const over = () => {
    isOver = true
    wake()
  }
  async function* said(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const frame = queue.shift()
      if (frame !== undefined) {
        yield frame
        watchdog.moved(frame.byteLength)
      } else if (isOver) return
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  }
  try {
    const sent = stream.sink(lp.encode(said()))
    // A broken stream is told to who listens; here it must only not go unhandled.
    sent.catch(over)
    const frames = lp.decode(counted(stream.source, watchdog.moved), { maxDataLength: LIMITS.frameBytes })
    const result = await talk({
      say(frame) {
        queue.push(frame)
        wake()
      },
      async hear() {
        const frame = await frames.next()
        if (frame.done === true) throw new Error('the stream ended before all was said')
        return flat(frame.value)
      },
    })
    over()
    await sent
    return result
  } catch (error) {
    stream.abort(error instanceof Error ? error : new Error(String(error)))
    if (late.signal.aborted) throw timeout
    throw inOurWords(peer, error)
  } finally {
    over()
    watchdog.stop()
  }
}
