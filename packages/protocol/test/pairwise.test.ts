import { describe, expect, it } from 'vitest'
import { type Averaged, type Averaging, AVERAGE_PROTOCOL, createAveraging } from '../src/averaging.ts'
import { CODECS, type CodecName } from '../src/codec/codec.ts'
import type { RefusalReason } from '../src/gossip.ts'
import { LIMITS } from '../src/limits.ts'
import { distance, norm } from '../src/mixing.ts'
import { AverageDone, AverageHeader, Status } from '../src/pb/messages.ts'
import type { Wire, WireStream } from '../src/wire.ts'
import { sha256 } from './support/federation.ts'
import { andThenSilence, answerWith, frame } from './support/hostile.ts'
import { MemoryNetwork } from './support/memory-network.ts'
import { randomVector, seeded } from './support/random.ts'
import { settle, VirtualClock } from './support/virtual-clock.ts'

const COUNT = 300
const INITIAL = randomVector(COUNT, 1)

interface Party {
  readonly averaging: Averaging
  readonly refusals: RefusalReason[]
  readonly bytes: { in: number; out: number }
}

interface World {
  readonly network: MemoryNetwork
  readonly clock: VirtualClock
}

const createWorld = (): World => ({ network: new MemoryNetwork(), clock: new VirtualClock() })

async function start(
  { network, clock }: World,
  name: string,
  {
    outsiders = [],
    codec = 'int8',
    wire = network.wire(name),
    strangers = [],
    robust = false,
    initial = INITIAL,
  }: {
    outsiders?: readonly string[]
    codec?: CodecName
    wire?: Wire
    strangers?: readonly string[]
    robust?: boolean
    initial?: Float32Array
  } = {},
): Promise<Party> {
  const refusals: RefusalReason[] = []
  const bytes = { in: 0, out: 0 }
  const averaging = createAveraging({
    initial,
    codec: CODECS[codec],
    differenceCodec: CODECS[codec === 'int8' ? 'int4' : codec],
    wire,
    clock,
    random: seeded(name.length),
    robust,
    isAdmitted: (peer) => !strangers.includes(peer),
    outsiders: () => outsiders,
    events: {
      onTraffic: (_, direction, count) => (bytes[direction] += count),
      onRefusal: (reason) => refusals.push(reason),
    },
  })
  await averaging.start()
  return { averaging, refusals, bytes }
}

/** Long enough for everyone to have asked, and for nobody to be given up. */
const A_WHILE_MS = 2000

async function pair(codec: CodecName = 'int8', wire?: (network: MemoryNetwork) => Wire) {
  const world = createWorld()
  const alice = await start(world, 'alice', {
    outsiders: ['bob'],
    codec,
    ...(wire === undefined ? {} : { wire: wire(world.network) }),
  })
  const bob = await start(world, 'bob', { codec })
  return { ...world, alice, bob }
}

const x = (seed: number) => randomVector(COUNT, seed)

/** What came of the one exchange that there was. */
function only({ averaging }: { readonly averaging: Averaging }): Averaged {
  const [first, ...others] = averaging.take()
  expect(first).toBeDefined()
  expect(others).toEqual([])
  return first!
}

describe('pairwise averaging', () => {
  it.each([
    // Half a level of what they differ by, which is up to 2 in a block.
    ['int8', 0.15],
    ['float16', 1e-3],
  ] as const)('brings both to the middle with %s, and keeps their sum exactly', async (codec, tolerance) => {
    const { alice, bob, clock } = await pair(codec)
    bob.averaging.offer(x(2))
    alice.averaging.offer(x(3))
    expect(alice.averaging.whyNot()).toBe('pending')
    await clock.advance(A_WHILE_MS)
    expect(alice.averaging.whyNot()).toBeUndefined()
    const [a, b] = [only(alice), only(bob)]
    expect([a.peer, b.peer]).toEqual(['bob', 'alice'])
    for (let k = 0; k < COUNT; k++) {
      expect(a.increment[k]! + b.increment[k]!).toBe(0)
      expect(Math.abs(a.increment[k]! - (x(2)[k]! - x(3)[k]!) / 2)).toBeLessThan(tolerance)
    }
    expect([alice.refusals, bob.refusals]).toEqual([[], []])
  })

  it('is right in the mean with int8, but for what is not believed of a rounded difference', async () => {
    const sum = new Float64Array(COUNT)
    const { alice, bob, clock } = await pair()
    const times = 200
    for (let time = 0; time < times; time++) {
      bob.averaging.offer(x(2))
      alice.averaging.offer(x(3))
      await clock.advance(100_000)
      const { increment } = only(alice)
      for (let k = 0; k < COUNT; k++) sum[k]! += increment[k]! / times
      bob.averaging.take()
    }
    const half = x(2).map((value, k) => (value - x(3)[k]!) / 2)
    const along = half.reduce((total, value, k) => total + value * sum[k]!, 0)
    const believed = along / half.reduce((total, value) => total + value * value, 0)
    expect(believed).toBeGreaterThan(0.95)
    expect(believed).toBeLessThan(1)
    // One exchange is off by up to 0.15 an element; a mean of 200 by a fraction of that.
    expect(Math.max(...sum.map((total, k) => Math.abs(total - believed * half[k]!)))).toBeLessThan(0.02)
  })

  it('goes on to agree, beyond what int8 can write down', async () => {
    const { alice, bob, clock } = await pair()
    const [a, b] = [x(2), x(3)]
    const apart: number[] = []
    for (let round = 0; round < 60; round++) {
      bob.averaging.offer(b)
      alice.averaging.offer(a)
      await clock.advance(100_000)
      for (const [own, peer] of [[a, alice] as const, [b, bob] as const]) {
        const { increment } = only(peer)
        for (let k = 0; k < COUNT; k++) own[k]! += increment[k]!
      }
      apart.push(distance(a, b))
    }
    const rounding = distance(x(2), INITIAL) * 0.006
    expect(apart[0]).toBeGreaterThan(rounding)
    expect(Math.max(...apart.slice(40))).toBeLessThan(rounding / 2)
  })

  it('brings up to two a round: one that we asked, and one that asked us', async () => {
    const world = createWorld()
    const ring = ['alice', 'bob', 'carol']
    const peers = await Promise.all(
      ring.map((name, i) => start(world, name, { outsiders: [ring[(i + 1) % 3]!], codec: 'float16' })),
    )
    peers.forEach(({ averaging }, i) => averaging.offer(x(i)))
    await world.clock.advance(A_WHILE_MS)
    const taken = peers.map(({ averaging }) => averaging.take())
    expect(taken.map((averaged) => averaged.map(({ peer }) => peer).sort())).toEqual([
      ['bob', 'carol'],
      ['alice', 'carol'],
      ['alice', 'bob'],
    ])
    for (let k = 0; k < COUNT; k++) {
      const values = [0, 1, 2].map((i) => x(i)[k]!)
      const sum = values.reduce((a, b) => a + b, 0)
      // x + (a - x) / 2 + (b - x) / 2 = (a + b) / 2
      for (const [i, averaged] of taken.entries()) {
        const increment = averaged.reduce((total, one) => total + one.increment[k]!, 0)
        expect(Math.abs(values[i]! + increment - (sum - values[i]!) / 2)).toBeLessThan(2e-3)
      }
    }
  })

  it('answers once a round, whoever asks', async () => {
    const world = createWorld()
    const alice = await start(world, 'alice')
    const askers = await Promise.all(
      ['bob', 'carol', 'dave'].map((name) => start(world, name, { outsiders: ['alice'] })),
    )
    for (const { averaging } of [alice, ...askers]) averaging.offer(x(1))
    await world.clock.advance(A_WHILE_MS)
    const reasons = askers.map(({ averaging }) => averaging.whyNot())
    expect(reasons.sort()).toEqual(['busy', 'busy', undefined])
    expect(askers.filter(({ averaging }) => averaging.take().length > 0)).toHaveLength(1)
    expect(askers.flatMap(({ refusals }) => refusals)).toEqual([])
    expect(alice.averaging.take()).toHaveLength(1)
    expect(alice.averaging.take()).toEqual([])
  })

  it('tries others when one is busy', async () => {
    const world = createWorld()
    for (const name of ['idle-1', 'idle-2', 'idle-3']) await start(world, name) // they have offered nothing
    const bob = await start(world, 'bob')
    const alice = await start(world, 'alice', { outsiders: ['idle-1', 'idle-2', 'bob', 'idle-3'] })
    bob.averaging.offer(x(2))
    alice.averaging.offer(x(3))
    await world.clock.advance(A_WHILE_MS)
    expect(only(alice).peer).toBe('bob')
  })

  it('does nothing while there is only one cell', async () => {
    const world = createWorld()
    const alice = await start(world, 'alice')
    await start(world, 'bob')
    alice.averaging.offer(x(2))
    await world.clock.advance(A_WHILE_MS)
    expect(alice.averaging.take()).toEqual([])
    expect(alice.averaging.whyNot()).toBe('alone')
    expect(alice.bytes).toEqual({ in: 0, out: 0 })
  })

  it('is refused to a peer that is not admitted', async () => {
    const world = createWorld()
    const alice = await start(world, 'alice', { outsiders: ['bob'] })
    const bob = await start(world, 'bob', { strangers: ['alice'] })
    bob.averaging.offer(x(2))
    alice.averaging.offer(x(3))
    await world.clock.advance(A_WHILE_MS)
    expect([alice.averaging.take(), bob.averaging.take()]).toEqual([[], []])
    expect(alice.averaging.whyNot()).toBe('refused')
    expect(alice.refusals).toEqual(['refused'])
    expect(bob.bytes).toEqual({ in: 0, out: 0 })
  })
})

describe('robust averaging', () => {
  const far = (factor: number) => INITIAL.map((value, k) => value + factor * (x(9)[k]! - value))

  /** Alice, who asks mallory after some rounds with honest others. */
  async function after(rounds: number, factor: number): Promise<Float32Array> {
    const world = createWorld()
    const outsiders = ['bob']
    const alice = await start(world, 'alice', { outsiders, robust: true, codec: 'float16' })
    const bob = await start(world, 'bob', { codec: 'float16' })
    const mallory = await start(world, 'mallory', { codec: 'float16' })
    for (let round = 0; round < rounds; round++) {
      bob.averaging.offer(x(2))
      alice.averaging.offer(x(3))
      await world.clock.advance(10_000)
      alice.averaging.take()
    }
    outsiders[0] = 'mallory'
    mallory.averaging.offer(far(factor))
    alice.averaging.offer(x(3))
    await world.clock.advance(10_000)
    return only(alice).increment
  }
  const usual = norm(x(2).map((value, k) => (value - x(3)[k]!) / 2))

  it('lets nobody move us more than twice as far as usual', async () => {
    expect(norm(await after(4, 50)) / usual).toBeCloseTo(2, 2)
  })

  it('lets nobody move us further than we have come, while nothing is usual', async () => {
    const own = norm(x(3).map((value, k) => value - INITIAL[k]!))
    expect(norm(await after(0, 50)) / own).toBeCloseTo(1, 2)
  })

  it('moves nobody, and breaks nothing, when both are where they started', async () => {
    const world = createWorld()
    const alice = await start(world, 'alice', { outsiders: ['bob'], robust: true })
    const bob = await start(world, 'bob', { robust: true })
    for (const { averaging } of [alice, bob]) averaging.offer(INITIAL.slice())
    await world.clock.advance(A_WHILE_MS)
    expect(only(alice).increment).toEqual(new Float32Array(COUNT))
  })

  /** Alice and mallory, who has learnt the opposite of her; one of them asks. */
  async function opposed(asking: 'alice' | 'mallory', robust = true) {
    const world = createWorld()
    const outsiders = (name: string, other: string) => (name === asking ? [other] : [])
    const alice = await start(world, 'alice', { outsiders: outsiders('alice', 'mallory'), robust })
    const mallory = await start(world, 'mallory', { outsiders: outsiders('mallory', 'alice') })
    const round = async () => {
      mallory.averaging.offer(far(-1))
      alice.averaging.offer(far(1))
      await world.clock.advance(A_WHILE_MS)
    }
    await round()
    return { ...world, alice, mallory, round }
  }

  it.each(['alice', 'mallory'] as const)(
    'takes nothing from who has learnt against us: %s asks',
    async (asking) => {
      const { alice, mallory, clock, round } = await opposed(asking)
      expect([alice.averaging.take(), mallory.averaging.take()]).toEqual([[], []])
      expect(alice.refusals).toEqual(['opposed'])
      expect(alice.averaging.whyNot()).toBe(asking === 'alice' ? 'opposed' : 'alone')
      // Nor asks it again soon, nor answers.
      await round()
      expect(alice.refusals).toEqual(['opposed'])
      expect(alice.averaging.whyNot()).toBe(asking === 'alice' ? 'paused' : 'alone')
      await clock.advance(LIMITS.averagingPauseMs)
      await round()
      await clock.advance(60_000)
      expect(alice.refusals).toEqual(['opposed', 'opposed'])
    },
  )

  it('keeps its place in the round for another', async () => {
    const { network, clock, alice } = await opposed('mallory')
    const bob = await start({ network, clock }, 'bob', { outsiders: ['alice'], robust: true })
    bob.averaging.offer(far(2))
    await clock.advance(A_WHILE_MS)
    expect(only(alice).peer).toBe('bob')
  })

  it('trusts who has learnt against us where the federation does', async () => {
    const { alice } = await opposed('alice', false)
    expect(only(alice).peer).toBe('mallory')
  })

  it('leaves alone what is as usual', async () => {
    const expected = norm(far(1).map((value, k) => (value - x(3)[k]!) / 2))
    expect(norm(await after(4, 1)) / expected).toBeCloseTo(1, 2)
  })
})

/** Breaks its streams when the n-th frame would be sent. */
function breaking(wire: Wire, at: number): Wire {
  let frames = 0
  const broken = (stream: WireStream): WireStream => ({
    ...stream,
    source: stream.source,
    sink: (source) =>
      stream.sink(
        (async function* () {
          for await (const bytes of source) {
            if (frames++ === at) {
              stream.abort(new Error('torn'))
              return
            }
            yield bytes
          }
        })(),
      ),
    close: () => stream.close(),
    abort: (error) => stream.abort(error),
  })
  return {
    ...wire,
    open: async (...args) => broken(await wire.open(...args)),
    handle: (protocol, handler) => wire.handle(protocol, (stream, peer) => handler(broken(stream), peer)),
  }
}

describe('a torn exchange', () => {
  // Header, payload, and "done": a frame of it-length-prefixed is sent as a length and its bytes.
  it.each([0, 1, 2, 3, 4, 5])(
    'changes nothing on either side when the asking side breaks at piece %i',
    async (at) => {
      const { alice, bob, clock } = await pair('int8', (network) => breaking(network.wire('alice'), at))
      bob.averaging.offer(x(2))
      alice.averaging.offer(x(3))
      await clock.advance(A_WHILE_MS)
      expect([alice.averaging.take(), bob.averaging.take()]).toEqual([[], []])
      expect(bob.refusals.length).toBeLessThanOrEqual(1)
    },
  )

  it('leaves the place in the round free for another', async () => {
    const world = createWorld()
    const { network, clock } = world
    const alice = await start(world, 'alice', {
      outsiders: ['bob'],
      wire: breaking(network.wire('alice'), 2),
    })
    const bob = await start(world, 'bob')
    bob.averaging.offer(x(2))
    alice.averaging.offer(x(3))
    await clock.advance(A_WHILE_MS)
    const carol = await start(world, 'carol', { outsiders: ['bob'] })
    carol.averaging.offer(x(4))
    await clock.advance(A_WHILE_MS)
    expect(only(bob).peer).toBe('carol')
  })

  it('is given up when the other side falls silent, wherever', async () => {
    const { alice, bob, network, clock } = await pair()
    bob.averaging.offer(x(2))
    alice.averaging.offer(x(3))
    network.stall('bob', 'alice')
    await clock.advance(A_WHILE_MS + LIMITS.openTimeoutMs + LIMITS.progressTimeoutMs)
    expect(alice.averaging.take()).toEqual([])
    expect(alice.refusals).toHaveLength(1)
  })
})

describe('a hostile other side', () => {
  const ready = frame(
    AverageHeader.encode({ status: Status.OK, length: 0, hash: new Uint8Array(), noise: 0 }),
  )
  const good = CODECS.int4.encode(x(9), seeded(1))
  const header = (fields: Partial<AverageHeader> = {}) =>
    frame(
      AverageHeader.encode({
        status: Status.OK,
        length: good.byteLength,
        hash: sha256(good),
        noise: 0,
        ...fields,
      }),
    )
  const done = frame(AverageDone.encode({ hash: sha256(good) }))
  const infinite = good.slice()
  new DataView(infinite.buffer).setFloat32(0, Infinity, true)

  it.each<[string, () => readonly Uint8Array[], RefusalReason]>([
    ['garbage', () => [Uint8Array.of(5, 1, 2, 3, 4, 5)], 'malformed'],
    ['another length', () => [ready, header({ length: 7 })], 'length'],
    ['a huge length', () => [ready, header({ length: 0xffffffff })], 'length'],
    ['a noise that is no number', () => [ready, header({ noise: NaN })], 'malformed'],
    ['a noise below nothing', () => [ready, header({ noise: -1 })], 'malformed'],
    ['a refusal', () => [header({ status: Status.BAD_REQUEST })], 'refused'],
    ['a late refusal', () => [ready, header({ status: Status.BAD_REQUEST })], 'refused'],
    ['another hash', () => [ready, header({ hash: new Uint8Array(32) }), frame(good), done], 'hash'],
    ['no hash', () => [ready, header({ hash: new Uint8Array() }), frame(good), done], 'hash'],
    ['more than it said', () => [ready, header(), frame(new Uint8Array([...good, 1])), done], 'length'],
    ['empty frames', () => [ready, header(), frame(new Uint8Array())], 'malformed'],
    ['an oversized frame', () => [Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x07)], 'malformed'],
    ['infinities', () => [ready, header({ hash: sha256(infinite) }), frame(infinite), done], 'non-finite'],
    [
      'something else than done',
      () => [ready, header(), frame(good), frame(Uint8Array.of(0xff))],
      'malformed',
    ],
    ['that it has got something else', () => [ready, header(), frame(good), done], 'malformed'],
    ['an early end', () => [ready, header(), frame(good)], 'unreachable'],
  ])('that answers with %s changes nothing', async (_, pieces, reason) => {
    const world = createWorld()
    await answerWith(world.network, 'mallory', AVERAGE_PROTOCOL, pieces)
    const alice = await start(world, 'alice', { outsiders: ['mallory'] })
    alice.averaging.offer(x(3))
    await world.clock.advance(A_WHILE_MS)
    expect(alice.refusals).toEqual([reason])
    expect(alice.averaging.take()).toEqual([])
  })

  it.each<[string, readonly Uint8Array[]]>([
    ['says nothing', []],
    ['says only that it will', [ready]],
    ['says only how much', [ready, header()]],
    ['sends half', [ready, header(), frame(good.subarray(0, 100))]],
    ['is never done', [ready, header(), frame(good)]],
  ])('that %s is given up, and keeps nobody from averaging', async (_, pieces) => {
    const world = createWorld()
    const { network, clock } = world
    await answerWith(network, 'mallory', AVERAGE_PROTOCOL, () => andThenSilence(...pieces))
    const alice = await start(world, 'alice', { outsiders: ['mallory'] })
    alice.averaging.offer(x(3))
    await clock.advance(A_WHILE_MS + LIMITS.progressTimeoutMs * (2 + pieces.length))
    expect(alice.refusals).toEqual(['timeout'])
    expect(clock.sleeping).toBe(0)
    const bob = await start(world, 'bob', { outsiders: ['alice'] })
    bob.averaging.offer(x(4))
    await clock.advance(A_WHILE_MS)
    expect(only(alice).peer).toBe('bob')
  })

  const inPieces = async function* (clock: VirtualClock, bytes: Uint8Array, length: number) {
    for (let at = 0; at < bytes.byteLength; at += length) {
      yield bytes.subarray(at, at + length)
      await clock.sleep(LIMITS.progressTimeoutMs - 1000)
    }
  }
  const givenUpMs = (LIMITS.leanTimeouts + 1) * LIMITS.progressTimeoutMs

  it('that answers a byte now and then is given up, and not asked again for a while', async () => {
    const world = createWorld()
    const { network, clock } = world
    await answerWith(network, 'mallory', AVERAGE_PROTOCOL, () =>
      inPieces(clock, new Uint8Array([...ready, ...header(), ...frame(good)]), 1),
    )
    const outsiders = ['mallory']
    const alice = await start(world, 'alice', { outsiders })
    alice.averaging.offer(x(3))
    await clock.advance(A_WHILE_MS + givenUpMs)
    expect(alice.refusals).toEqual(['timeout'])
    const bob = await start(world, 'bob')
    outsiders.push('bob')
    for (let round = 0; round < 5; round++) {
      for (const { averaging } of [alice, bob]) averaging.offer(x(4))
      await clock.advance(30_000) // the first of these rounds comes late: half as long is looked for somebody to ask
      expect(only(alice).peer).toBe('bob')
    }
    expect(alice.refusals).toEqual(['timeout'])
  })

  it('that asks a byte now and then is given up, and then others come first', async () => {
    const world = createWorld()
    const { network, clock } = world
    const alice = await start(world, 'alice')
    alice.averaging.offer(x(3))
    const whole = CODECS.int8.encode(x(9), seeded(1))
    const asks = new Uint8Array([
      ...header({ length: whole.byteLength, hash: sha256(whole) }),
      ...frame(whole),
    ])
    const dribble = async () => {
      const stream = await network.wire('mallory').open('alice', AVERAGE_PROTOCOL)
      void stream.sink(inPieces(clock, asks, 1)).catch(() => undefined)
    }
    await dribble()
    await clock.advance(givenUpMs)
    expect(alice.refusals).toEqual(['timeout'])
    await dribble()
    const bob = await start(world, 'bob', { outsiders: ['alice'] })
    bob.averaging.offer(x(4))
    await clock.advance(A_WHILE_MS)
    expect(only(alice).peer).toBe('bob')
    // Not for ever: it may have been a bad link.
    await clock.advance(LIMITS.averagingPauseMs)
    alice.averaging.offer(x(3))
    await dribble()
    await clock.advance(givenUpMs)
    expect(alice.refusals).toEqual(['timeout', 'timeout'])
  })

  it.each([
    ['would take much longer than ten minutes is given up', 16_384, 'timeout'],
    ['would take hardly ten minutes is heard to its end', 32_768, 'hash'],
  ] as const)('that asks at a rate at which a long vector %s', async (_, length, reason) => {
    const world = createWorld()
    const { network, clock } = world
    const initial = new Float32Array(400_000)
    const alice = await start(world, 'alice', { initial, codec: 'float16' })
    alice.averaging.offer(initial.slice())
    const stream = await network.wire('mallory').open('alice', AVERAGE_PROTOCOL)
    const body = new Uint8Array(2 * initial.length)
    const frames = [0, 1, 2, 3].map((i) => frame(body.subarray(i * 200_000, (i + 1) * 200_000)))
    const bytes = new Uint8Array(
      Buffer.concat([header({ length: body.byteLength, hash: new Uint8Array(32) }), ...frames]),
    )
    void stream.sink(inPieces(clock, bytes, length)).catch(() => undefined)
    await clock.advance(LIMITS.averagingMs)
    expect(alice.refusals).toEqual([reason])
  })

  const wholeOf = (bytes: Uint8Array) => [
    header({ length: bytes.byteLength, hash: sha256(bytes) }),
    frame(bytes),
  ]
  const whole = CODECS.int8.encode(x(9), seeded(1))
  const endless = whole.slice()
  new DataView(endless.buffer).setFloat32(0, Infinity, true)
  const farthest = CODECS.float16.encode(new Float32Array(COUNT).fill(65504), seeded(1))

  it.each<[string, CodecName, readonly Uint8Array[], RefusalReason]>([
    ['garbage', 'int8', [Uint8Array.of(5, 1, 2, 3, 4, 5)], 'malformed'],
    ['a difference', 'int8', [header(), frame(good), done], 'length'],
    ['infinities', 'int8', wholeOf(endless), 'non-finite'],
    ['what is further off than can be written down', 'float16', wholeOf(farthest), 'non-finite'],
    ['no word on the answer', 'int8', wholeOf(whole), 'unreachable'],
    ['that it has got something else', 'int8', [...wholeOf(whole), done], 'malformed'],
  ])('that asks with %s changes nothing', async (_, values, pieces, reason) => {
    const { network, clock } = createWorld()
    const alice = await start({ network, clock }, 'alice', { codec: values })
    alice.averaging.offer(x(3).map((value) => value - 40))
    const stream = await network.wire('mallory').open('alice', AVERAGE_PROTOCOL)
    await stream.sink(pieces)
    await clock.advance(A_WHILE_MS)
    expect(alice.refusals).toEqual([reason])
    expect(alice.averaging.take()).toEqual([])
    expect(clock.sleeping).toBe(0)
  })

  it('that asks again and again for what nobody has is told so, and takes nobody’s place', async () => {
    const world = createWorld()
    const { network, clock } = world
    const alice = await start(world, 'alice')
    alice.averaging.offer(x(3))
    for (let time = 0; time < 10; time++) {
      const stream = await network.wire('mallory').open('alice', AVERAGE_PROTOCOL)
      await stream.sink([header({ length: 7 })])
      await settle()
    }
    // Dear enough to be cut off after the fourth (reputation.ts).
    expect(alice.refusals).toEqual(Array(10).fill('length'))
    expect(alice.averaging.take()).toEqual([])
    const bob = await start(world, 'bob', { outsiders: ['alice'] })
    bob.averaging.offer(x(4))
    await clock.advance(A_WHILE_MS + LIMITS.progressTimeoutMs)
    expect(only(alice).peer).toBe('bob')
    expect(clock.sleeping).toBe(0)
  })
})
