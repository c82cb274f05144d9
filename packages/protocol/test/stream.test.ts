import { describe, expect, it } from 'vitest'
import { ProtocolError } from '../src/errors.ts'
import { LIMITS } from '../src/limits.ts'
import { ask, type Reply, reply } from '../src/stream.ts'
import type { WireStream } from '../src/wire.ts'
import { rejection } from './support/check.ts'
import { andThenSilence, answerWith, frame } from './support/hostile.ts'
import { MemoryNetwork } from './support/memory-network.ts'
import { randomBytes, seeded } from './support/random.ts'
import { settle, VirtualClock } from './support/virtual-clock.ts'

const PROTOCOL = '/test/1'
const REQUEST = Uint8Array.of(1, 2, 3)
const HEADER = Uint8Array.of(7)

interface AskExtras {
  readonly signal?: AbortSignal
  readonly request?: Uint8Array
}

/** Alice asks Bob. Whatever his header says, `bodyBytes` bytes are expected behind it. */
function setUp(bodyBytes = 0) {
  const network = new MemoryNetwork()
  const clock = new VirtualClock()
  const alice = network.wire('alice')
  const bob = network.wire('bob')
  const asking = ({ signal, request = REQUEST }: AskExtras = {}) =>
    ask(alice, clock, 'bob', PROTOCOL, request, { signal, bodyBytes: () => bodyBytes })
  return {
    network,
    clock,
    alice,
    asking,
    asked: (extras?: AskExtras) => clock.run(asking(extras)),
    /** Bob answers with these bytes, whatever they are. */
    bytes: (bytes: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>) =>
      answerWith(network, 'bob', PROTOCOL, bytes),
    /** Bob answers as our own code does. */
    replies: (answer: (request: Uint8Array) => Reply) =>
      bob.handle(PROTOCOL, (stream) => reply(stream, clock, LIMITS.requestBytes, answer)),
  }
}

async function readAll(stream: WireStream): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  for await (const piece of stream.source) pieces.push(piece.subarray())
  return new Uint8Array(Buffer.concat(pieces))
}

async function failure(bodyBytes: number, ...pieces: readonly Uint8Array[]) {
  const { bytes, asking, clock } = setUp(bodyBytes)
  await bytes(() => pieces)
  const detail = await rejection(clock.run(asking()))
  // Nothing is left waiting for a stream that is over.
  expect(clock.sleeping).toBe(0)
  return detail
}

describe('ask', () => {
  it('gets the header that answers its request, and no body where none is promised', async () => {
    const { replies, asked } = setUp()
    await replies((request) => ({ header: request.map((byte) => byte + 1) }))
    expect(await asked()).toEqual({ header: Uint8Array.of(2, 3, 4), body: new Uint8Array() })
  })

  it.each([
    1,
    LIMITS.frameBytes - 1,
    LIMITS.frameBytes,
    LIMITS.frameBytes + 1,
    4 * LIMITS.frameBytes + 12_345,
  ])('gets a body of %d bytes as it was', async (length) => {
    const { replies, asked } = setUp(length)
    const body = randomBytes(length, seeded(length))
    await replies(() => ({ header: HEADER, body }))
    const answer = await asked()
    expect(answer.header).toEqual(HEADER)
    expect(Buffer.from(answer.body).equals(body)).toBe(true)
  })

  it('leaves no clock running when it is done', async () => {
    const { replies, asked, clock } = setUp()
    await replies(() => ({ header: HEADER }))
    await asked()
    await settle()
    expect(clock.sleeping).toBe(0)
  })

  it('reads nothing beyond what the header promises', async () => {
    const { bytes, asked } = setUp(4)
    let given = 0
    await bytes(function* () {
      yield frame(HEADER)
      yield frame(Uint8Array.of(1, 2, 3, 4))
      for (; given < 10_000; given++) yield frame(new Uint8Array(1000))
    })
    expect((await asked()).body).toEqual(Uint8Array.of(1, 2, 3, 4))
    expect(given).toBeLessThan(1000)
  })

  it('passes on what the reader of the header throws: a refusal', async () => {
    const { network, clock, bytes, alice } = setUp()
    await bytes(() => [frame(HEADER)])
    const refused = new ProtocolError({
      code: 'PEER_REFUSED',
      peer: 'bob',
      what: 'a payload',
      status: 'BUSY',
    })
    const bodyBytes = (): number => {
      throw refused
    }
    const asking = ask(alice, clock, 'bob', PROTOCOL, REQUEST, { bodyBytes })
    await expect(clock.run(asking)).rejects.toBe(refused)
    expect(network.handlerErrors).toEqual([])
  })

  it.each([
    ['the stream ends before the header', 0, [], 'PEER_UNREACHABLE'],
    [
      'the header is larger than a header may be',
      0,
      [frame(new Uint8Array(LIMITS.answerBytes + 1))],
      'MESSAGE_MALFORMED',
    ],
    [
      'the header is larger than a frame may be',
      0,
      [frame(new Uint8Array(LIMITS.frameBytes + 1))],
      'MESSAGE_MALFORMED',
    ],
    ['a frame promises gigabytes', 0, [Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f)], 'MESSAGE_MALFORMED'],
    ['the length of a frame never ends', 0, [new Uint8Array(64).fill(0xff)], 'MESSAGE_MALFORMED'],
    ['the header is cut short', 0, [frame(new Uint8Array(50)).subarray(0, 30)], 'PEER_UNREACHABLE'],
    [
      'a later frame is too large',
      300_000,
      [frame(HEADER), frame(new Uint8Array(LIMITS.frameBytes + 1))],
      'MESSAGE_MALFORMED',
    ],
    ['the body is shorter than promised', 10, [frame(HEADER), frame(new Uint8Array(6))], 'PEER_UNREACHABLE'],
    ['the body is missing', 10, [frame(HEADER)], 'PEER_UNREACHABLE'],
    [
      'the body is longer than promised',
      10,
      [frame(HEADER), frame(new Uint8Array(11))],
      'PAYLOAD_WRONG_LENGTH',
    ],
    [
      'the last frame of the body is longer than promised',
      10,
      [frame(HEADER), frame(new Uint8Array(6)), frame(new Uint8Array(6))],
      'PAYLOAD_WRONG_LENGTH',
    ],
    [
      'a frame of the body is empty',
      10,
      [frame(HEADER), frame(new Uint8Array()), frame(new Uint8Array(10))],
      'MESSAGE_MALFORMED',
    ],
  ] as const)('fails with a code when %s', async (_, bodyBytes, pieces, code) => {
    expect((await failure(bodyBytes, ...pieces)).code).toBe(code)
  })

  it('fails with a code when the body is cut short within a frame', async () => {
    const { code } = await failure(100, frame(HEADER), frame(new Uint8Array(100)).subarray(0, 50))
    expect(code).toBe('PEER_UNREACHABLE')
  })

  it('says how long a wrong body was', async () => {
    expect(await failure(10, frame(HEADER), frame(new Uint8Array(6)))).toEqual({
      code: 'PEER_UNREACHABLE',
      peer: 'bob',
      stage: 'protocol',
      reason: 'the stream ended after 6 of 10 bytes',
    })
    expect(
      await failure(10, frame(HEADER), frame(new Uint8Array(6)), frame(new Uint8Array(6))),
    ).toMatchObject({
      expected: 10,
      actual: 12,
    })
  })

  it('does not read empty frames for ever', async () => {
    const { bytes, asking, clock } = setUp(10)
    let given = 0
    await bytes(async function* () {
      yield frame(HEADER)
      // One a second: it moves, but it gets nowhere.
      for (; given < 3600; given++) {
        await clock.sleep(1000)
        yield frame(new Uint8Array())
      }
    })
    await rejection(clock.run(asking()))
    expect(given).toBeLessThan(100)
  })

  it('fails with a code when the peer resets the stream', async () => {
    const { network, asked } = setUp(10)
    await network.wire('bob').handle(PROTOCOL, async () => {
      throw new Error('bob has a bug')
    })
    expect((await rejection(asked())).code).toBe('PEER_UNREACHABLE')
  })

  it('fails with a code when the connection is lost', async () => {
    const { network, clock, bytes, asking } = setUp(10)
    await bytes(() => andThenSilence(frame(HEADER)))
    const asked = rejection(asking())
    await settle()
    network.cut('alice', 'bob')
    expect((await clock.run(asked)).code).toBe('PEER_UNREACHABLE')
    expect(clock.sleeping).toBe(0)
  })

  it('says how far it came when the peer cannot be reached', async () => {
    const { network, asked } = setUp()
    expect(await rejection(asked())).toMatchObject({ code: 'PEER_UNREACHABLE', stage: 'protocol' })
    network.cut('alice', 'bob')
    expect(await rejection(asked())).toMatchObject({ code: 'PEER_UNREACHABLE', stage: 'dial' })
  })
})

describe('the patience of ask', () => {
  /** When it fails, in milliseconds after the question. */
  async function fails(setting: ReturnType<typeof setUp>): Promise<{ code: string; afterMs: number }> {
    const start = setting.clock.now()
    const { code } = await rejection(setting.asked())
    return { code, afterMs: setting.clock.now() - start }
  }

  it('ends when nothing comes for the progress timeout', async () => {
    const setting = setUp(10)
    await setting.bytes(() => andThenSilence())
    expect(await fails(setting)).toEqual({ code: 'PEER_TIMEOUT', afterMs: LIMITS.progressTimeoutMs })
  })

  it('ends when nothing more comes: not before the timeout, and before twice that', async () => {
    const setting = setUp(10)
    await setting.bytes(() => andThenSilence(frame(HEADER), frame(new Uint8Array(5))))
    const { code, afterMs } = await fails(setting)
    expect(code).toBe('PEER_TIMEOUT')
    expect(afterMs).toBeGreaterThanOrEqual(LIMITS.progressTimeoutMs)
    expect(afterMs).toBeLessThanOrEqual(2 * LIMITS.progressTimeoutMs)
  })

  it('ends when the link stalls in the middle of a frame', async () => {
    const setting = setUp(100)
    await setting.bytes(() => andThenSilence(frame(HEADER), frame(new Uint8Array(100)).subarray(0, 50)))
    expect((await fails(setting)).code).toBe('PEER_TIMEOUT')
  })

  it('lasts as long as frames come, however long that takes', async () => {
    const piece = 65_536
    const { bytes, asked, clock } = setUp(20 * piece)
    await bytes(async function* () {
      yield frame(HEADER)
      for (let i = 0; i < 20; i++) {
        await clock.sleep(LIMITS.progressTimeoutMs - 1)
        yield frame(new Uint8Array(piece).fill(i))
      }
    })
    const { body } = await asked()
    expect([0, 7, 19].map((i) => body[i * piece])).toEqual([0, 7, 19])
  })

  it('ends when hardly anything comes: a byte now and then is no progress', async () => {
    const setting = setUp(1000)
    let sent = 0
    await setting.bytes(async function* () {
      for (const byte of [...frame(HEADER), ...frame(new Uint8Array(1000))]) {
        yield Uint8Array.of(byte)
        sent++
        await setting.clock.sleep(LIMITS.progressTimeoutMs - 1000)
      }
    })
    const afterMs = (LIMITS.leanTimeouts + 1) * LIMITS.progressTimeoutMs
    expect(await fails(setting)).toEqual({ code: 'PEER_TIMEOUT', afterMs })
    expect(sent).toBeLessThan(10)
  })

  it('lasts as long as the least that is asked comes', async () => {
    const { bytes, asked, clock } = setUp(100 * LIMITS.progressBytes)
    await bytes(async function* () {
      yield frame(HEADER)
      for (let i = 0; i < 100; i++) {
        await clock.sleep(LIMITS.progressTimeoutMs - 1)
        yield frame(new Uint8Array(LIMITS.progressBytes).fill(i))
      }
    })
    expect((await asked()).body.at(-1)).toBe(99)
  })

  it('asks more of a large body: an hour is enough for any', async () => {
    const length = 2 * LIMITS.progressBytes * (LIMITS.bodyMs / LIMITS.progressTimeoutMs)
    const setting = setUp(length)
    await setting.bytes(async function* () {
      yield frame(HEADER)
      for (let at = 0; at < length; at += LIMITS.progressBytes) {
        await setting.clock.sleep(LIMITS.progressTimeoutMs - 1)
        yield frame(new Uint8Array(LIMITS.progressBytes))
      }
    })
    const { code, afterMs } = await fails(setting)
    expect(code).toBe('PEER_TIMEOUT')
    expect(afterMs).toBeLessThanOrEqual((LIMITS.leanTimeouts + 2) * LIMITS.progressTimeoutMs)
  })

  it('bears with a link that is worse for a while, and with short messages that take their time', async () => {
    const { bytes, asked, clock } = setUp(LIMITS.leanTimeouts + 1)
    await bytes(async function* () {
      yield frame(HEADER)
      for (let i = 0; i <= LIMITS.leanTimeouts; i++) {
        await clock.sleep(LIMITS.progressTimeoutMs - 1)
        yield frame(Uint8Array.of(i))
      }
    })
    expect([...(await asked()).body]).toEqual([0, 1, 2, 3])
  })

  it('lasts as long as bytes come: a slow link needs long for a large frame', async () => {
    const { bytes, asked, clock } = setUp(LIMITS.frameBytes)
    const whole = frame(randomBytes(LIMITS.frameBytes, seeded(1)))
    await bytes(async function* () {
      yield frame(HEADER)
      for (let at = 0; at < whole.byteLength; at += 40_000) {
        await clock.sleep(LIMITS.progressTimeoutMs / 2)
        yield whole.subarray(at, at + 40_000)
      }
    })
    expect((await asked()).body).toHaveLength(LIMITS.frameBytes)
  })

  it('ends when the stream cannot be opened in time', async () => {
    const setting = setUp()
    setting.network.stall('alice', 'bob')
    expect(await fails(setting)).toEqual({ code: 'PEER_UNREACHABLE', afterMs: LIMITS.openTimeoutMs })
  })

  it.each(['before it opens', 'while it opens', 'while it reads'])(
    'ends at once when it is told to, %s',
    async (moment) => {
      const { network, bytes, asking, clock } = setUp(10)
      await bytes(() => andThenSilence(frame(HEADER)))
      const controller = new AbortController()
      if (moment === 'before it opens') controller.abort()
      if (moment === 'while it opens') network.stall('bob', 'alice')
      const failed = expect(asking({ signal: controller.signal })).rejects.toThrow('aborted')
      await settle()
      controller.abort()
      await failed
      expect(clock.sleeping).toBe(0)
    },
  )
})

describe('reply', () => {
  it('answers the first request of a stream and no second', async () => {
    const { network, clock, alice, replies } = setUp()
    const requests: Uint8Array[] = []
    await replies((request) => {
      requests.push(request)
      return { header: HEADER }
    })
    const stream = await alice.open('bob', PROTOCOL)
    void stream.sink([frame(Uint8Array.of(1)), frame(Uint8Array.of(2))])
    expect(await readAll(stream)).toEqual(frame(HEADER))
    expect(requests).toEqual([Uint8Array.of(1)])
    expect(network.handlerErrors).toEqual([])
    expect(clock.sleeping).toBe(0)
  })

  it.each([
    ['a request larger than allowed', [frame(new Uint8Array(LIMITS.requestBytes + 1))]],
    ['a length that never ends', [new Uint8Array(64).fill(0xff)]],
    ['half a request', [frame(new Uint8Array(100)).subarray(0, 40)]],
    ['no request at all', []],
  ])('survives %s: the next one is answered', async (_, pieces) => {
    const { alice, asked, replies, clock } = setUp()
    let answered = 0
    await replies(() => {
      answered++
      return { header: HEADER }
    })
    const stream = await alice.open('bob', PROTOCOL)
    await stream.sink(pieces)
    await settle()
    expect(answered).toBe(0)
    expect(clock.sleeping).toBe(0)
    expect((await asked()).header).toEqual(HEADER)
  })

  it('survives an answer that throws: the asker gets an error, the next one an answer', async () => {
    const { asked, replies } = setUp()
    let broken = true
    await replies(() => {
      if (broken) throw new Error('bob has a bug')
      return { header: HEADER }
    })
    await expect(asked()).rejects.toThrow()
    broken = false
    expect((await asked()).header).toEqual(HEADER)
  })

  it('gives up an asker that never asks', async () => {
    const { alice, replies, clock, network } = setUp()
    await replies(() => ({ header: HEADER }))
    const stream = await alice.open('bob', PROTOCOL)
    void stream.sink(andThenSilence(Uint8Array.of(3)))
    await clock.advance(LIMITS.progressTimeoutMs - 1)
    expect(network.handlerErrors).toEqual([])
    await clock.advance(1)
    expect(network.handlerErrors).toHaveLength(1)
    expect(clock.sleeping).toBe(0)
  })

  it('gives up an asker that does not read, having sent it hardly more than a window', async () => {
    const { alice, replies, clock } = setUp()
    await replies(() => ({ header: HEADER, body: new Uint8Array(20 * LIMITS.frameBytes) }))
    const stream = await alice.open('bob', PROTOCOL)
    void stream.sink([frame(REQUEST)])
    await clock.advance(2 * LIMITS.progressTimeoutMs)
    expect(clock.sleeping).toBe(0)
    await expect(readAll(stream)).rejects.toThrow('reset')
  })

  it('lasts as long as the asker reads, however slowly', async () => {
    const { alice, replies, clock, network } = setUp()
    await replies(() => ({ header: HEADER, body: new Uint8Array(8 * LIMITS.frameBytes) }))
    const stream = await alice.open('bob', PROTOCOL)
    void stream.sink([frame(REQUEST)])
    let bytes = 0
    const reading = (async () => {
      for await (const piece of stream.source) {
        bytes += piece.byteLength
        await clock.sleep(LIMITS.progressTimeoutMs / 8)
      }
    })()
    await clock.run(reading)
    expect(bytes).toBeGreaterThan(8 * LIMITS.frameBytes)
    expect(network.handlerErrors).toEqual([])
  })
})
