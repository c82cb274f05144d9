import * as lp from 'it-length-prefixed'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { decodeCheckpoint, encodeCheckpoint, loadTokenizer, type NamedArray } from '@comigs/model'
import type * as Protocol from '@comigs/protocol'
import { type CodecName, CODECS, type Pubsub, type Wire, type WireStream } from '@comigs/protocol'
import '../../packages/node/src/polyfill.ts'
import type { PeerEvent } from '../../packages/node/src/events.ts'
import { newManifest } from '../../packages/node/src/new-manifest.ts'
import { runPeer } from '../../packages/node/src/peer.ts'
import { stream } from '../../packages/model/src/random.ts'
import { peerConfig } from '../support/peer-config.ts'
import { peerArguments, PeerProcess, runCli } from '../support/peer-process.ts'
import { SHIPPED_BASE, writeTinyBase } from '../support/tiny-base.ts'

/**
 * The promise: text, specialists, routers and optimiser state never leave a peer. Canaries are planted in all of them, a
 * real peer trains and exchanges with another process, and everything that it hands to a stream, to pubsub or to HTTP is
 * searched, before it is encrypted. The same canary in the shared parameters must be found, or the search is worth nothing.
 */

/** What the peer handed out, one entry a stream or message. The real transport runs underneath. */
const handedOut: Uint8Array[] = []

vi.mock('@comigs/protocol', async (importOriginal) => {
  const real = await importOriginal<typeof Protocol>()
  return {
    ...real,
    createLibp2pWire: (...args: Parameters<typeof real.createLibp2pWire>) =>
      tapWire(real.createLibp2pWire(...args)),
    createGossipsubPubsub: (...args: Parameters<typeof real.createGossipsubPubsub>) =>
      tapPubsub(real.createGossipsubPubsub(...args)),
  }
})

function tapWire(wire: Wire): Wire {
  const tap = (one: WireStream): WireStream => ({
    ...one,
    sink: (source) => one.sink(copied(source)),
  })
  return {
    ...wire,
    open: async (...args) => tap(await wire.open(...args)),
    handle: (protocol, handler) => wire.handle(protocol, (one, peer) => handler(tap(one), peer)),
  }
}

async function* copied(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const index = handedOut.push(new Uint8Array()) - 1
  for await (const chunk of source) {
    const bytes =
      'subarray' in chunk && !(chunk instanceof Uint8Array)
        ? (chunk as { subarray(): Uint8Array }).subarray()
        : chunk
    handedOut[index] = Buffer.concat([handedOut[index]!, bytes])
    yield chunk
  }
}

function tapPubsub(pubsub: Pubsub): Pubsub {
  return {
    ...pubsub,
    publish: (topic, data) => {
      handedOut.push(data.slice())
      return pubsub.publish(topic, data)
    },
  }
}

const CANARY_LENGTH = 64
const SENTENCE = 'The zanzibar gull flew backwards over Wittgenstein'

const canary = (name: string): Float32Array => {
  const random = stream(7, `canary ${name}`)
  return Float32Array.from({ length: CANARY_LENGTH }, () => 3 * (2 * random.float() - 1))
}

/** Arrays of the checkpoint that hold a canary each, by what they are. */
const PRIVATE: Readonly<Record<string, RegExp>> = {
  'specialist A': /^experts\/h\.0\.mlp\.experts\.1\.c_fc\.lora_A$/,
  'specialist B': /^experts\/h\.1\.mlp\.experts\.1\.c_proj\.lora_B$/,
  router: /^router\/h\.0\.mlp\.router\.weight$/,
  'first moment of the generalist': /^experts\.first\/h\.0\.mlp\.experts\.0\.c_fc\.lora_A$/,
  'second moment of attention': /^experts\.second\/h\.0\.attn\.c_attn\.lora_B$/,
  'first moment of a specialist': /^experts\.first\/h\.0\.mlp\.experts\.1\.c_fc\.lora_B$/,
}
const SHARED = /^experts\/h\.0\.mlp\.experts\.0\.c_fc\.lora_B$/

function plant(arrays: readonly NamedArray[], where: RegExp, name: string): void {
  const target = arrays.find((array) => where.test(array.name))
  expect(target, `an array for ${name}`).toBeDefined()
  target!.values.set(name.includes('second') ? canary(name).map(Math.abs) : canary(name))
}

describe.each<CodecName>(['float32', 'float16', 'int8', 'int4'])(
  'what a peer hands out with %s deltas',
  (codec) => {
    let folder: string
    let http = ''

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'comigs-canary-'))
      const base = await writeTinyBase(join(folder, 'base'))
      const text = join(folder, 'diary.txt')
      await writeFile(text, `${SENTENCE}.\n`.repeat(200))

      // A learning rate that changes no bit, and no router phase: the canaries stay what they are.
      const manifest = await newManifest(base, {
        name: 'canary',
        seed: 3,
        schedule: { kind: 'constant', rate: 1e-30, warmupSteps: 1 },
        codec: { values: codec },
        robust: true,
      })
      const manifestFile = join(folder, 'manifest.json')
      await writeFile(manifestFile, JSON.stringify({ ...manifest, routerEvery: 1_000_000 }))
      const state = join(folder, 'state')
      const made = await runCli([
        ...[
          '--state',
          state,
          '--base',
          base,
          '--data',
          text,
          '--manifest',
          manifestFile,
          '--context',
          '32',
          '--batch',
          '2',
        ],
        ...['--rounds', '1', '--listen', '/ip4/127.0.0.1/tcp/0'],
      ])
      expect(made.stderr).toBe('')

      const checkpoint = join(state, 'checkpoint.safetensors')
      const { state: trained, extra } = decodeCheckpoint(await readFile(checkpoint), checkpoint)
      for (const [name, where] of Object.entries(PRIVATE)) plant(trained.arrays, where, name)
      plant(trained.arrays, SHARED, 'generalist')
      await writeFile(checkpoint, encodeCheckpoint(trained, extra))

      handedOut.length = 0
      const stop = new AbortController()
      const events: PeerEvent[] = []
      const config = peerConfig({ name: 'canary', state, base, data: { data: [text] }, waitForPeers: 1 })
      let listening!: (event: Extract<PeerEvent, { event: 'listening' }>) => void
      const isListening = new Promise<Extract<PeerEvent, { event: 'listening' }>>(
        (resolve) => (listening = resolve),
      )
      let enough!: () => void
      const hasMixed = new Promise<void>((resolve) => (enough = resolve))
      const running = runPeer(config, {
        log: pino({ level: 'silent' }),
        signal: stop.signal,
        onActivity: () => undefined,
        onEvent: (event) => {
          events.push(event)
          if (event.event === 'listening') listening(event)
          if (event.event === 'round' && event.mixedWith === 1 && event.round >= 4) enough()
        },
      })
      const { addresses, http: url } = await Promise.race([
        isListening,
        running.then(() => Promise.reject(new Error('ended'))),
      ])
      const other = new PeerProcess(
        peerArguments('de', base, join(folder, 'other'), ['--bootstrap', addresses[0]!]),
      )
      await hasMixed
      // What HTTP tells, read while the peer trains.
      for (const path of ['/metrics', '/api/status', '/healthz', '/readyz'])
        http += await (await fetch(url + path)).text()
      handedOut.push(new TextEncoder().encode(events.map((event) => JSON.stringify(event)).join()))
      await other.kill('SIGKILL')
      stop.abort()
      await running
    })
    afterAll(() => rm(folder, { recursive: true, force: true }))

    it('is enough to search', () => {
      expect(handedOut.length).toBeGreaterThan(8)
      expect(http).toContain('comigs_round')
      expect(http).toContain('"phase":"training"')
    })

    it('holds the canary of the shared parameters: the search works', () => {
      expect(highest('generalist')).toBeGreaterThan(0.98)
    })

    it.each(Object.keys(PRIVATE))('holds nothing of the %s', (name) => {
      expect(highest(name)).toBeLessThan(0.75)
    })

    it('holds no text and no tokens', async () => {
      const tokenizer = await loadTokenizer(SHIPPED_BASE)
      const everything = Buffer.concat([...handedOut, Buffer.from(http)])
      for (const words of [SENTENCE, 'zanzibar', 'Wittgenstein']) {
        expect(everything.includes(words)).toBe(false)
        const ids = tokenizer.encode(` ${words}`)
        expect(everything.includes(Buffer.from(ids.buffer))).toBe(false)
        expect(everything.includes(Buffer.from(Uint16Array.from(ids).buffer))).toBe(false)
        expect(everything.includes([...ids].join())).toBe(false)
      }
    })
  },
)

/** The best match of a canary anywhere in what was handed out, however it may be written down: 1 is certain. */
function highest(name: string): number {
  const wanted = name.includes('second') ? canary(name).map(Math.abs) : canary(name)
  return Math.max(
    ...handedOut.flatMap((bytes) => readings(bytes).map((values) => bestCorrelation(values, wanted))),
  )
}

/** All the vectors that some bytes could be. */
function readings(bytes: Uint8Array): Float32Array[] {
  const read: Float32Array[] = []
  for (let shift = 0; shift < 4; shift++) {
    const rest = bytes.subarray(shift)
    read.push(
      CODECS.float32.decode(rest.subarray(0, 4 * Math.floor(rest.length / 4)), Math.floor(rest.length / 4)),
    )
    if (shift < 2) {
      read.push(
        CODECS.float16.decode(rest.subarray(0, 2 * Math.floor(rest.length / 2)), Math.floor(rest.length / 2)),
      )
    }
  }
  read.push(Float32Array.from(new Int8Array(bytes.slice().buffer)))
  read.push(
    Float32Array.from({ length: 2 * bytes.length }, (_, i) => (bytes[i >> 1]! << (i % 2 ? 24 : 28)) >> 28),
  )
  return [...read, ...bodies(bytes).flatMap((body) => [...blocks('int8', body), ...blocks('int4', body)])]
}

/** What a body says when it is a payload of blocks of 128 with a scale each. */
function blocks(name: 'int8' | 'int4', body: Uint8Array): Float32Array[] {
  const codec = CODECS[name]
  const count = Math.floor((body.length * 128) / codec.byteLength(128))
  if (codec.byteLength(count) !== body.length) return []
  try {
    return [codec.decode(body, count)]
  } catch {
    return [] // no scales: it is something else
  }
}

/** The raw bytes behind the header of a stream. */
function bodies(bytes: Uint8Array): Uint8Array[] {
  try {
    const frames = [...lp.decode([bytes])].map((frame) => frame.subarray())
    return frames.length > 1 ? [Buffer.concat(frames.slice(1))] : []
  } catch {
    return []
  }
}

/** Largest absolute correlation (Pearson) of `wanted` with any stretch of `values`. */
function bestCorrelation(values: Float32Array, wanted: Float32Array): number {
  const n = wanted.length
  const clean = values.map((value) => (Math.abs(value) < 1e6 ? value : 0))
  const mean = wanted.reduce((sum, value) => sum + value, 0) / n
  const centred = wanted.map((value) => value - mean)
  const norm = Math.hypot(...centred)
  let best = 0
  for (let at = 0; at + n <= clean.length; at++) {
    let dot = 0
    let sum = 0
    let square = 0
    for (let k = 0; k < n; k++) {
      const value = clean[at + k]!
      dot += value * centred[k]!
      sum += value
      square += value * value
    }
    const spread = square - (sum * sum) / n
    if (spread > 1e-12 * square) best = Math.max(best, Math.abs(dot) / (norm * Math.sqrt(spread)))
  }
  return best
}
