import '../../../node/src/polyfill.ts'

import type { GossipSub } from '@chainsafe/libp2p-gossipsub'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { type Message, type PrivateKey, TopicValidatorResult } from '@libp2p/interface'
import * as lp from 'it-length-prefixed'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createHost, type Host } from '../../../node/src/host/host.ts'
import { announcementTopic } from '../../src/gossip.ts'
import { createGossipsubPubsub } from '../../src/libp2p/gossipsub-pubsub.ts'
import type { Verdict } from '../../src/wire.ts'

const FEDERATION = 'f'.repeat(64)
const TOPIC = announcementTopic(FEDERATION)
const FOREIGN = announcementTopic('e'.repeat(64))

const startHost = async () =>
  createHost({
    key: (await generateKeyPair('Ed25519')) as unknown as PrivateKey,
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    federation: FEDERATION,
    crowded: true,
  })

const gossip = (host: Host): GossipSub => host.services.pubsub

/** Looks after every heartbeat until it is so; the test's own timeout is the limit. */
async function until(host: Host, isSo: () => boolean): Promise<void> {
  while (!isSo()) await once(gossip(host) as unknown as EventTarget, 'gossipsub:heartbeat')
}

describe('gossipsub between two nodes', () => {
  let a: Host
  let b: Host
  const heard: { text: string; from: string }[] = []
  let verdict: Verdict = 'accept'
  const say = (text: string) =>
    createGossipsubPubsub(gossip(a)).publish(TOPIC, new TextEncoder().encode(text))
  const waiting = new Map<string, () => void>()
  const hears = (text: string) =>
    new Promise<void>((resolve) => {
      waiting.set(text, resolve)
      if (heard.some((message) => message.text === text)) resolve()
    })

  beforeAll(async () => {
    a = await startHost()
    b = await startHost()
    // What is not ours first: when the other has seen our topic, it has seen this, too.
    gossip(a).subscribe(FOREIGN)
    createGossipsubPubsub(gossip(a)).subscribe(TOPIC, async () => 'accept')
    createGossipsubPubsub(gossip(b)).subscribe(TOPIC, async (data, from) => {
      const text = new TextDecoder().decode(data)
      heard.push({ text, from })
      waiting.get(text)?.()
      return verdict
    })
    await a.dial(b.getMultiaddrs())
    await until(a, () => gossip(a).getMeshPeers(TOPIC).includes(b.peerId.toString()))
    await until(b, () => gossip(b).getMeshPeers(TOPIC).includes(a.peerId.toString()))
  })
  afterAll(async () => {
    await a.stop()
    await b.stop()
  })

  it('asks the judge about a message, and says who signed it', async () => {
    await say('one')
    await hears('one')
    expect(heard).toContainEqual({ text: 'one', from: a.peerId.toString() })
  })

  it('does not echo to the publisher', async () => {
    const own: string[] = []
    createGossipsubPubsub(gossip(a)).subscribe(TOPIC, async (_, from) => {
      own.push(from)
      return 'accept'
    })
    await say('two')
    await hears('two')
    expect(own).toEqual([])
  })

  it('takes the same announcement twice for one message', async () => {
    await say('three')
    await hears('three')
    await say('three')
    await say('four')
    await hears('four')
    expect(heard.filter(({ text }) => text === 'three')).toHaveLength(1)
  })

  it('does not track topics that are not the federation’s', () => {
    expect(gossip(b).getSubscribers(TOPIC).map(String)).toEqual([a.peerId.toString()])
    expect(gossip(b).getSubscribers(FOREIGN)).toEqual([])
  })

  it('blames a sender for what is rejected, and not for what is ignored', async () => {
    const score = () => gossip(b).getScore(a.peerId.toString())
    verdict = 'ignore'
    for (let i = 0; i < 3; i++) await say(`ignored ${i}`)
    await hears('ignored 2')
    await once(gossip(b) as unknown as EventTarget, 'gossipsub:heartbeat')
    expect(score()).toBeGreaterThanOrEqual(0)
    verdict = 'reject'
    for (let i = 0; i < 3; i++) await say(`rejected ${i}`)
    await hears('rejected 2')
    // The verdicts are counted one by one, and a heartbeat may fall between.
    await until(b, () => score() < -100)
    expect(score()).toBeLessThan(-100)
  })
})

describe('a frame', () => {
  /** The limit of docs/PROTOCOL.md. */
  const LIMIT = 262_144
  const prefixed = (bytes: Iterable<number>) => lp.encode.single(Uint8Array.from(bytes)).subarray()
  /** Of so many bytes: field 15, which an RPC does not have. */
  const unknown = (length: number) => prefixed([0x7a, ...prefixed(new Uint8Array(length - 4))])

  it('may be as long as the limit, and not a byte longer: then its sender’s stream ends', async () => {
    const [b, mallory] = [await startHost(), await startHost()]
    try {
      const isThere = () => gossip(b).getSubscribers(TOPIC).map(String).includes(mallory.peerId.toString())
      createGossipsubPubsub(gossip(mallory)).subscribe(TOPIC, async () => 'accept')
      const connection = await mallory.dial(b.getMultiaddrs())
      await until(b, isThere)
      // Known by now, it says by hand what it says: its newest stream is the one that is heard.
      const stream = await connection.newStream(gossip(b).multicodecs)
      const said = new PassThrough()
      const saying = stream.sink(said).catch(() => undefined)
      const subscribe = (wanted: 0 | 1) =>
        said.write(
          prefixed([0x0a, ...prefixed([0x08, wanted, 0x12, ...prefixed(new TextEncoder().encode(TOPIC))])]),
        )
      said.write(unknown(LIMIT))
      subscribe(0)
      await until(b, () => !isThere())
      subscribe(1)
      await until(b, isThere)
      said.write(unknown(LIMIT + 1))
      await until(b, () => !isThere())
      expect(connection.status).toBe('open')
      said.end()
      await saying
    } finally {
      await b.stop()
      await mallory.stop()
    }
  })
})

describe('the judge of a topic', () => {
  const message = (type: string, keyType = 'Ed25519') =>
    ({
      type,
      topic: TOPIC,
      data: Uint8Array.of(1),
      from: { type: keyType, toString: () => 'alice' },
    }) as unknown as Message

  /** A gossipsub that only remembers what it is told. */
  function recorder() {
    const validators: GossipSub['topicValidators'] = new Map()
    const calls: unknown[][] = []
    const service = {
      topicValidators: validators,
      subscribe: (topic: string) => calls.push(['subscribe', topic]),
      unsubscribe: (topic: string) => calls.push(['unsubscribe', topic]),
      publish: async (...args: unknown[]) => calls.push(['publish', ...args]),
    } as unknown as GossipSub
    return { pubsub: createGossipsubPubsub(service), validators, calls }
  }

  it.each([
    ['accept', TopicValidatorResult.Accept],
    ['ignore', TopicValidatorResult.Ignore],
    ['reject', TopicValidatorResult.Reject],
  ] as const)('that says %s is understood', async (verdict, result) => {
    const { pubsub, validators } = recorder()
    pubsub.subscribe(TOPIC, async () => verdict)
    expect(await validators.get(TOPIC)!({} as never, message('signed'))).toBe(result)
  })

  it.each([
    ['is not signed', message('unsigned')],
    ['is signed with RSA, whose key nobody checks', message('signed', 'RSA')],
    ['is signed with secp256k1', message('signed', 'secp256k1')],
  ])('is not even asked about a message that %s: it is rejected', async (_, unacceptable) => {
    const { pubsub, validators } = recorder()
    let asked = false
    pubsub.subscribe(TOPIC, async () => {
      asked = true
      return 'accept'
    })
    expect(await validators.get(TOPIC)!({} as never, unacceptable)).toBe(TopicValidatorResult.Reject)
    expect(asked).toBe(false)
  })

  it('is there before the first message and gone after the last', () => {
    const { pubsub, validators, calls } = recorder()
    pubsub.subscribe(TOPIC, async () => 'accept')
    pubsub.unsubscribe(TOPIC)
    expect(validators.size).toBe(0)
    expect(calls).toEqual([
      ['subscribe', TOPIC],
      ['unsubscribe', TOPIC],
    ])
  })

  it('is not needed to publish where nobody listens', async () => {
    const { pubsub, calls } = recorder()
    await pubsub.publish(TOPIC, Uint8Array.of(1))
    expect(calls).toEqual([
      [
        'publish',
        TOPIC,
        Uint8Array.of(1),
        { ignoreDuplicatePublishError: true, allowPublishToZeroTopicPeers: true },
      ],
    ])
  })
})
