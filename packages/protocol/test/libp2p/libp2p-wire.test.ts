import '../../../node/src/polyfill.ts'

import { generateKeyPair } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../../node/src/clock.ts'
import { createHost, type Host } from '../../../node/src/host/host.ts'
import { ProtocolError } from '../../src/errors.ts'
import { createLibp2pWire, unreachable } from '../../src/libp2p/libp2p-wire.ts'
import { LIMITS } from '../../src/limits.ts'
import { ask, reply } from '../../src/stream.ts'
import type { WireStream } from '../../src/wire.ts'
import { rejection } from '../support/check.ts'
import { frame } from '../support/hostile.ts'
import { randomBytes, seeded } from '../support/random.ts'
import { identity } from '../support/signers.ts'

const PROTOCOL = '/test/1'

const newKey = async () => (await generateKeyPair('Ed25519')) as unknown as PrivateKey

const startHost = async () =>
  createHost({
    key: await newKey(),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    federation: 'f'.repeat(64),
    crowded: true,
  })

const portOf = (server: Server) => (server.address() as AddressInfo).port

/** A TCP server that says something to everyone who comes. */
async function startServer(greeting: Uint8Array): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.end(greeting)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

describe('streams over libp2p, TCP, noise and yamux', () => {
  let a: Host
  let b: Host
  const bob = () => b.peerId.toString()

  beforeAll(async () => {
    a = await startHost()
    b = await startHost()
    await a.dial(b.getMultiaddrs())
  })
  afterAll(async () => {
    await a.stop()
    await b.stop()
  })

  /** Answers the next streams in one way until the test is over. */
  async function handling<T>(
    handler: (stream: WireStream, peer: string) => Promise<void>,
    test: () => Promise<T>,
  ): Promise<T> {
    const wire = createLibp2pWire(b)
    await wire.handle(PROTOCOL, handler)
    try {
      return await test()
    } finally {
      await wire.unhandle(PROTOCOL)
    }
  }
  const asked = (bodyBytes = 0, signal?: AbortSignal) =>
    ask(createLibp2pWire(a), systemClock, bob(), PROTOCOL, Uint8Array.of(1), {
      signal,
      bodyBytes: () => bodyBytes,
    })

  it('know who they are and with whom they are connected', () => {
    const wire = createLibp2pWire(a)
    expect(wire.self).toBe(a.peerId.toString())
    expect(wire.connected()).toEqual([bob()])
  })

  it('carry a question and an answer of several frames, and know who asks', async () => {
    const body = randomBytes(5 * LIMITS.frameBytes + 1, seeded(1))
    const askers: string[] = []
    const answer = await handling(
      async (stream, peer) => {
        askers.push(peer)
        await reply(stream, systemClock, LIMITS.requestBytes, (request) => ({ header: request, body }))
      },
      () => asked(body.byteLength),
    )
    expect([...answer.header]).toEqual([1])
    expect(Buffer.from(answer.body).equals(body)).toBe(true)
    expect(askers).toEqual([a.peerId.toString()])
  })

  it('are closed after an answer: a hundred leave nothing open', async () => {
    await handling(
      (stream) => reply(stream, systemClock, LIMITS.requestBytes, (header) => ({ header })),
      async () => {
        for (let i = 0; i < 100; i++) await asked()
        const open = [a, b].flatMap((host) => host.getConnections()).flatMap(({ streams }) => streams)
        expect(open.filter(({ protocol }) => protocol === PROTOCOL).length).toBeLessThanOrEqual(2)
      },
    )
  })

  it('are aborted by a handler that throws, and by nothing else', async () => {
    let broken = true
    await handling(
      async (stream) => {
        if (broken) throw new Error('bob has a bug')
        await reply(stream, systemClock, LIMITS.requestBytes, (header) => ({ header }))
      },
      async () => {
        expect((await rejection(asked())).code).toBe('PEER_UNREACHABLE')
        broken = false
        expect([...(await asked()).header]).toEqual([1])
      },
    )
  })

  it('are aborted by the asker, and the handler hears of it', async () => {
    const controller = new AbortController()
    const { promise, resolve } = Promise.withResolvers<unknown>()
    await handling(
      async (stream) => {
        controller.abort()
        // More than a window, so that it has to wait for the asker.
        const endless = (function* () {
          for (;;) yield frame(new Uint8Array(LIMITS.frameBytes))
        })()
        await stream.sink(endless).finally(() => resolve('over'))
      },
      async () => {
        await expect(asked(1e9, controller.signal)).rejects.toThrow()
        expect(await promise).toBe('over')
      },
    )
  })

  it('are not opened with a signal that has aborted', async () => {
    expect((await rejection(asked(0, AbortSignal.abort()))).code).toBe('PEER_UNREACHABLE')
  })

  describe('a peer that cannot be reached', () => {
    /** Opens a stream to somebody who is said to listen there. */
    async function openTo(port: number) {
      const { name } = await identity(9)
      const id = peerIdFromString(name)
      await a.peerStore.merge(id, { multiaddrs: [multiaddr(`/ip4/127.0.0.1/tcp/${port}`)] })
      try {
        return await rejection(createLibp2pWire(a).open(name, PROTOCOL))
      } finally {
        await a.peerStore.delete(id)
      }
    }

    it('because nobody listens there: the dial failed', async () => {
      const server = await startServer(new Uint8Array())
      const port = portOf(server)
      server.close()
      await once(server, 'close')
      expect(await openTo(port)).toMatchObject({ code: 'PEER_UNREACHABLE', stage: 'dial' })
    })

    it('because no address is known: the dial failed', async () => {
      const { name } = await identity(8)
      expect(await rejection(createLibp2pWire(a).open(name, PROTOCOL))).toMatchObject({
        code: 'PEER_UNREACHABLE',
        peer: name,
        stage: 'dial',
      })
    })

    it.each([
      ['speaks garbage', randomBytes(200, seeded(1))],
      ['speaks HTTP', new TextEncoder().encode('HTTP/1.1 400 Bad Request\r\n\r\n')],
      ['hangs up', new Uint8Array()],
    ])('because a server is there that %s: the handshake failed', async (_, greeting) => {
      const server = await startServer(greeting)
      try {
        expect(await openTo(portOf(server))).toMatchObject({ code: 'PEER_UNREACHABLE', stage: 'handshake' })
      } finally {
        server.close()
      }
    })

    it('because somebody else listens there, who would answer: the handshake failed', async () => {
      const c = await startHost()
      try {
        await createLibp2pWire(c).handle(PROTOCOL, (stream) => stream.close())
        const { port } = c.getMultiaddrs()[0]!.nodeAddress()
        expect(await openTo(port)).toMatchObject({ code: 'PEER_UNREACHABLE', stage: 'handshake' })
      } finally {
        await c.stop()
      }
    })

    it('because it does not speak the protocol: that failed', async () => {
      expect(await rejection(createLibp2pWire(a).open(bob(), '/unknown/1'))).toMatchObject({
        code: 'PEER_UNREACHABLE',
        peer: bob(),
        stage: 'protocol',
      })
    })

    it('because it is no peer id', async () => {
      expect(await rejection(createLibp2pWire(a).open('bob', PROTOCOL))).toEqual({
        code: 'PEER_UNREACHABLE',
        peer: 'bob',
        stage: 'dial',
        reason: 'not a peer id',
      })
    })
  })
})

describe('unreachable', () => {
  const named = (name: string, message: string) => Object.assign(new Error(message), { name })

  it.each([
    [named('EncryptionFailedError', 'no'), 'handshake', 'no'],
    [named('UnsupportedProtocolError', ''), 'protocol', 'UnsupportedProtocolError'],
    [named('DialError', 'refused'), 'dial', 'refused'],
    [
      new AggregateError([named('DialError', 'first'), named('EncryptionFailedError', 'last')]),
      'handshake',
      'last',
    ],
    [new AggregateError([], 'none of them'), 'dial', 'none of them'],
    ['just text', 'dial', 'just text'],
    [undefined, 'dial', 'undefined'],
  ])('of %s says how far it came', (error, stage, reason) => {
    expect(unreachable('bob', error).detail).toEqual({ code: 'PEER_UNREACHABLE', peer: 'bob', stage, reason })
  })

  it('keeps the cause, and what is a ProtocolError already', () => {
    const cause = new Error('why')
    expect(unreachable('bob', cause).cause).toBe(cause)
    const known = new ProtocolError({ code: 'PEER_UNREACHABLE', peer: 'bob', stage: 'dial', reason: 'known' })
    expect(unreachable('carol', known)).toBe(known)
  })
})
