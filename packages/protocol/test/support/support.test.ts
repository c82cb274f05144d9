import { describe, expect, it } from 'vitest'
import { rejection } from './check.ts'
import { andThenSilence } from './hostile.ts'
import { MemoryNetwork } from './memory-network.ts'
import { MemoryPubsub } from './memory-pubsub.ts'
import { settle, VirtualClock } from './virtual-clock.ts'
import type { WireStream } from '../../src/wire.ts'

// The ground that the other tests stand on, and that the simulator will grow from.

describe('the virtual clock', () => {
  it('wakes sleepers in the order of their times, then of their beginning', async () => {
    const clock = new VirtualClock()
    const start = clock.now()
    const woken: string[] = []
    const sleep = async (name: string, ms: number) => {
      await clock.sleep(ms)
      woken.push(`${name} ${clock.now() - start}`)
    }
    void sleep('b', 20)
    void sleep('a', 10).then(() => sleep('after a', 5))
    void sleep('c', 20)
    void sleep('d', 30)
    await clock.advance(29)
    expect(woken).toEqual(['a 10', 'after a 15', 'b 20', 'c 20'])
    expect(clock.now() - start).toBe(29)
    expect(clock.sleeping).toBe(1)
  })

  it('wakes a sleeper at once when its signal aborts, also before it sleeps', async () => {
    const clock = new VirtualClock()
    const controller = new AbortController()
    const sleeping = clock.sleep(1000, controller.signal)
    controller.abort()
    await sleeping
    await clock.sleep(1000, controller.signal)
    expect(clock.sleeping).toBe(0)
  })

  it('runs no further than a promise needs, and tells when it can never settle', async () => {
    const clock = new VirtualClock()
    const start = clock.now()
    expect(await clock.run(clock.sleep(70).then(() => 'done'))).toBe('done')
    expect(clock.now() - start).toBe(70)
    await expect(clock.run(new Promise(() => undefined))).rejects.toThrow('never')
    await expect(clock.run(clock.sleep(2000), 1000)).rejects.toThrow('not done after 1000 ms')
  })
})

describe('the memory network', () => {
  const PROTOCOL = '/echo'
  const read = async (stream: WireStream) => {
    const pieces: Uint8Array[] = []
    for await (const piece of stream.source) pieces.push(piece.subarray())
    return Buffer.concat(pieces)
  }

  /** Bob says back what he hears, when he has heard all of it. */
  async function echo() {
    const network = new MemoryNetwork()
    await network.wire('bob').handle(PROTOCOL, async (stream) => stream.sink([await read(stream)]))
    return { network, stream: await network.wire('alice').open('bob', PROTOCOL) }
  }

  it('closes one half after the other: an answer comes after the end of the question', async () => {
    const { network, stream } = await echo()
    await stream.sink([Uint8Array.of(1), Uint8Array.of(2, 3)])
    expect([...(await read(stream))]).toEqual([1, 2, 3])
    expect(network.wire('alice').connected()).toEqual(['bob'])
    expect(network.wire('bob').connected()).toEqual(['alice'])
  })

  it('copies what it carries, in pieces', async () => {
    const { stream } = await echo()
    const large = new Uint8Array(200_000).fill(7)
    await stream.sink([large])
    large.fill(0)
    const pieces: number[] = []
    for await (const piece of stream.source) pieces.push(piece.byteLength)
    expect(pieces.length).toBeGreaterThan(2)
    expect(pieces.reduce((a, b) => a + b)).toBe(200_000)
  })

  it('makes a writer wait for its reader', async () => {
    const network = new MemoryNetwork()
    let written = 0
    await network.wire('bob').handle(PROTOCOL, (stream) =>
      stream.sink(
        (function* () {
          for (; written < 100; written++) yield new Uint8Array(65_536)
        })(),
      ),
    )
    const stream = await network.wire('alice').open('bob', PROTOCOL)
    await settle()
    expect(written).toBe(4)
    expect(await read(stream)).toHaveLength(100 * 65_536)
  })

  it('stalls one direction without telling anyone, and resumes', async () => {
    const { network, stream } = await echo()
    network.stall('bob', 'alice')
    await stream.sink([Uint8Array.of(1)])
    let answered = false
    const answer = read(stream).then((bytes) => {
      answered = true
      return [...bytes]
    })
    await settle()
    expect(answered).toBe(false)
    network.resume('bob', 'alice')
    expect(await answer).toEqual([1])
  })

  it('loses open streams on both sides when it is cut, and opens none until it is mended', async () => {
    const { network, stream } = await echo()
    const lost = expect(read(stream)).rejects.toThrow('the connection was lost')
    network.cut('bob', 'alice')
    await lost
    await settle()
    expect(network.handlerErrors).toHaveLength(1)
    const wire = network.wire('alice')
    expect(wire.connected()).toEqual([])
    expect(await rejection(wire.open('bob', PROTOCOL))).toMatchObject({ stage: 'dial' })
    network.mend('alice', 'bob')
    await (await wire.open('bob', PROTOCOL)).close()
  })

  it('carries no more than so many bytes of a stream that breaks, and counts it until it is over', async () => {
    const network = new MemoryNetwork()
    let heard = 0
    await network.wire('bob').handle(PROTOCOL, async (stream) => {
      for await (const piece of stream.source) heard += piece.byteLength
    })
    let broken = 0
    const onBroken = () => {
      broken++
    }
    network.opening = async () => ({ left: 70_000, onBroken })
    const stream = await network.wire('alice').open('bob', PROTOCOL)
    void stream.sink([new Uint8Array(60_000), new Uint8Array(60_000)]).catch(() => undefined)
    await settle()
    expect([heard, broken, network.serving('bob')]).toEqual([70_000, 1, 1])
    network.hangUp('alice', 'bob')
    await settle()
    expect([heard, network.serving('bob')]).toEqual([70_000, 0])
  })

  it('resets the other side on abort: its reader fails, its writer stops', async () => {
    const network = new MemoryNetwork()
    await network.wire('bob').handle(PROTOCOL, async (stream) => {
      void stream.sink(andThenSilence(new Uint8Array(1_000_000)))
      await read(stream)
    })
    const stream = await network.wire('alice').open('bob', PROTOCOL)
    await settle()
    stream.abort(new Error('enough'))
    await expect(read(stream)).rejects.toThrow('enough')
    await settle()
    expect(network.handlerErrors).toMatchObject([{ message: 'the stream was reset' }])
  })
})

describe('the memory pubsub', () => {
  it('relays what is accepted, once, along links; asks before it relays; echoes nothing', async () => {
    // A line: a - b - c - d, where c does not accept.
    const line = 'abcd'
    const pubsub = new MemoryPubsub((x, y) => Math.abs(line.indexOf(x) - line.indexOf(y)) === 1)
    for (const peer of line) {
      pubsub.endpoint(peer).subscribe('topic', async () => (peer === 'c' ? 'ignore' : 'accept'))
    }
    await pubsub.endpoint('a').publish('topic', Uint8Array.of(1))
    await settle()
    expect(pubsub.judgements).toEqual([
      { at: 'b', author: 'a', verdict: 'accept' },
      { at: 'c', author: 'a', verdict: 'ignore' },
    ])
  })
})
