import { type CodecChoice, type CodecName, CODECS } from '../../src/codec/codec.ts'
import type { ProtocolError } from '../../src/errors.ts'
import { createExchange, type Exchange, type Holdings } from '../../src/exchange.ts'
import { announcementTopic, createGossip, type Gossip, type RefusalReason } from '../../src/gossip.ts'
import { type Manifest, manifestHash } from '../../src/manifest.ts'
import type { OwnState } from '../../src/own-state.ts'
import { limitRequests } from '../../src/rate-limiter.ts'
import type { Clock, Signer } from '../../src/wire.ts'
import { copyHash, manifestFor } from './federation.ts'
import { MemoryNetwork } from './memory-network.ts'
import { MemoryPubsub } from './memory-pubsub.ts'
import { randomVector, seeded } from './random.ts'
import { hashSigner } from './signers.ts'
import { settle, VirtualClock } from './virtual-clock.ts'

/** Where peers of one federation live: network, pubsub and time in memory. */
export interface World {
  readonly manifest: Manifest
  readonly initial: Float32Array
  readonly topic: string
  readonly clock: VirtualClock
  readonly network: MemoryNetwork
  readonly pubsub: MemoryPubsub
}

export function createWorld(
  codec: CodecName | CodecChoice = 'float32',
  parameters = 64,
  robust = false,
): World {
  const network = new MemoryNetwork()
  const manifest = manifestFor(parameters, codec, robust)
  return {
    manifest,
    initial: randomVector(parameters, 1, 0.1),
    topic: announcementTopic(manifestHash(manifest)),
    clock: new VirtualClock(),
    network,
    pubsub: new MemoryPubsub((a, b) => network.linked(a, b)),
  }
}

export interface PeerOptions {
  readonly restored?: OwnState | undefined
  readonly clock?: Clock | undefined
  readonly signer?: Signer | undefined
  admits?(author: string): boolean
  perplexity?(): number | undefined
  /** Replaces what happens when the peer writes its state. */
  persist?(state: OwnState): Promise<void>
  /** What a liar serves instead of what it holds. */
  serving?(honest: Holdings): Partial<Holdings>
}

export interface Peer {
  readonly name: string
  readonly exchange: Exchange
  readonly gossip: Gossip
  /** Every state that it wrote, the newest last. */
  readonly states: OwnState[]
  readonly refusals: { readonly reason: RefusalReason; readonly peer: string }[]
  readonly refusedPeers: { readonly peer: string; readonly error: ProtocolError }[]
  /** The streams of random numbers that it drew from. */
  readonly streams: string[]
  /** What happened, in order. */
  readonly diary: string[]
}

export async function startPeer(world: World, name: string, options: PeerOptions = {}): Promise<Peer> {
  const { manifest, initial, network } = world
  const clock = options.clock ?? world.clock
  const states: OwnState[] = []
  const refusals: Peer['refusals'] = []
  const refusedPeers: Peer['refusedPeers'] = []
  const streams: string[] = []
  const diary: string[] = []
  const endpoint = world.pubsub.endpoint(name)
  const wire = limitRequests(network.wire(name), clock, (peer) => refusals.push({ reason: 'rate', peer }))
  const honest: Holdings = {
    payload: (hash) => gossip.holdings.payload(hash),
    copy: (author) => gossip.holdings.copy(author),
    announcements: () => gossip.holdings.announcements(),
    peers: () => [],
  }
  const exchange = createExchange({
    wire,
    clock,
    manifest,
    holdings: { ...honest, ...options.serving?.(honest) },
    addresses: () => [`/memory/${name}`],
    onTraffic: () => undefined,
    onAdmitted: (peer) => diary.push(`admitted ${peer}`),
    onRefused: (peer, error) => refusedPeers.push({ peer, error }),
    onOffence: (reason, peer) => refusals.push({ reason, peer }),
  })
  const gossip: Gossip = createGossip({
    manifest,
    initial,
    wire,
    pubsub: {
      ...endpoint,
      publish: async (topic, data) => {
        diary.push('publish')
        await endpoint.publish(topic, data)
      },
    },
    exchange,
    signer: options.signer ?? hashSigner(name),
    clock,
    random: (purpose, counter) => {
      streams.push(`${purpose} ${counter}`)
      return seeded(hashCode(`${name}/${purpose}`) + counter)
    },
    restored: options.restored,
    ...(options.admits === undefined ? {} : { admits: options.admits }),
    ...(options.perplexity === undefined ? {} : { perplexity: options.perplexity }),
    persist: async (state) => {
      diary.push('persist')
      await options.persist?.(state)
      states.push(state)
    },
    events: {
      onTraffic: () => undefined,
      onRefusal: (reason, peer) => refusals.push({ reason, peer }),
      onCopy: (author, round) => diary.push(`copy ${author} ${round}`),
    },
  })
  await exchange.start()
  await gossip.start()
  return { name, exchange, gossip, states, refusals, refusedPeers, streams, diary }
}

/** Peers that all know each other. */
export async function startPeers(world: World, names: readonly string[]): Promise<Peer[]> {
  const peers: Peer[] = []
  for (const name of names) peers.push(await startPeer(world, name))
  await meet(world, ...peers)
  return peers
}

/** Introduces every two of them to each other. */
export async function meet(world: World, ...peers: readonly Peer[]): Promise<void> {
  for (const [i, a] of peers.entries()) {
    for (const b of peers.slice(i + 1)) await world.clock.run(a.exchange.hello(b.name))
  }
}

/** Publishes and lets it get about. */
export async function tell(peer: Peer, x: Float32Array, round: number): Promise<void> {
  await peer.gossip.publish(x, round)
  await settle()
}

const hex = (values: Float32Array): string => Buffer.from(copyHash(values)).toString('hex').slice(0, 16)

/** The beginning of the hash of a peer's copy of an author; undefined when it has none. */
export function copyAt(peer: Peer, author: string): string | undefined {
  const held = peer.gossip.holdings.copy(author)
  return held === undefined ? undefined : hex(CODECS.float32.decode(held.bytes, held.bytes.byteLength / 4))
}

/** The same for what a peer told: its last copy, or an earlier one. */
export const told = (peer: Peer, index = -1): string => hex(peer.states.at(index)!.copy)

function hashCode(text: string): number {
  let code = 0
  for (const letter of text) code = Math.imul(code, 31) + letter.codePointAt(0)!
  return code >>> 0
}
