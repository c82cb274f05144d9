import { joinNetwork, findStart, type Network } from '../../../packages/node/src/network.ts'
import type { Dialer } from '../../../packages/node/src/host/dialer.ts'
import { runRounds } from '../../../packages/node/src/round.ts'
import type { KnownPeers } from '../../../packages/node/src/state/state-directory.ts'
import {
  Reputation,
  type Clock,
  type CodecChoice,
  type Manifest,
  type OwnState,
  type Signer,
  type Wire,
} from '../../../packages/protocol/src/index.ts'
import { manifestFor } from '../../../packages/protocol/test/support/federation.ts'
import { MemoryNetwork } from '../../../packages/protocol/test/support/memory-network.ts'
import { MemoryPubsub } from '../../../packages/protocol/test/support/memory-pubsub.ts'
import { seeded } from '../../../packages/protocol/test/support/random.ts'
import { hashSigner, identity } from '../../../packages/protocol/test/support/signers.ts'
import { VirtualClock } from '../../../packages/protocol/test/support/virtual-clock.ts'
import { type Attack, type Knowledge, misbehaving, poisoned } from './attackers.ts'
import { newer } from './newer.ts'
import { createProblem, createTrainer, type Problem, type VectorTrainer } from './problem.ts'

export interface SwarmOptions {
  readonly seed: number
  readonly peers: number
  readonly parameters: number
  readonly codec: CodecChoice
  /** Whether peers exchange anything; otherwise everyone trains alone. */
  readonly exchange: boolean
  /** Ed25519 instead of a keyed hash. */
  readonly realKeys: boolean
  /** Median time to open a stream or to carry an announcement a hop; the tail is exponential. */
  readonly delayMs: number
  /** Share of peers that are ten times slower. */
  readonly stragglers: number
  /** Whether peers take half, once or twice the federation's steps a round; stragglers half. */
  readonly unequal: boolean
  /** Largest difference of a peer's clock. */
  readonly clockSkewMs: number
  /** Beside the others: peers of another federation, and every second of a later version of the protocol, too. */
  readonly strangers: number
  /** Whether honest peers defend themselves: clipping, benefit guard, reputation. */
  readonly robust: boolean
  /** Factor of momentum between rounds; undefined: none. */
  readonly momentum: number | undefined
  /** The last of the peers are bad. */
  readonly attack: { readonly kind: Attack; readonly peers: number } | undefined
  /** Share of the learning rate at a time since the start. */
  rate(ms: number): number
}

/** A peer and what stays of it when it is killed. */
export interface SimulatedPeer {
  readonly index: number
  readonly id: string
  readonly isStraggler: boolean
  /** Of a round. */
  readonly localSteps: number
  readonly isStranger: boolean
  readonly isBad: boolean
  /** Rounds over all its lives. */
  rounds: number
  lastRoundAt: number
  /** Undefined while it is dead. */
  life: Life | undefined
  /** Bytes sent by kind, over all its lives. */
  readonly sent: Map<string, number>
  /** How often it refused what, or whom for which field. */
  readonly refusals: Map<string, number>
  disk: Disk
}

interface Disk {
  own?: OwnState
  checkpoint?: { readonly round: number; readonly x: Float32Array; readonly velocity: Float32Array }
  known: KnownPeers
}

interface Life {
  readonly network: Network
  readonly trainer: VectorTrainer
  readonly end: AbortController
}

/** What goes wrong on the way, at the moment. */
export interface Weather {
  /** Share of announcements lost on a hop. */
  loss: number
  /** Share of announcements that come twice. */
  duplication: number
  /** Share of streams that are lost: half when they are opened, half on the way. */
  broken: number
}

export interface Swarm {
  readonly clock: VirtualClock
  readonly problem: Problem
  readonly peers: readonly SimulatedPeer[]
  readonly network: MemoryNetwork
  readonly weather: Weather
  /** What should never have been thrown. */
  readonly errors: string[]
  readonly startedAt: number
  start(peer: SimulatedPeer): void
  /** kill -9. */
  kill(peer: SimulatedPeer): void
  /** Groups that cannot reach each other; undefined: one group. */
  partition(groupOf: ((peer: SimulatedPeer) => number) | undefined): void
  run(ms: number): Promise<void>
  stop(): Promise<void>
}

/** 10 steps of a second: a round. */
export const ROUND_MS = 10_000
const STRAGGLING = 10
/** Steps of a round where H is unequal, in the federation's. */
const PACES = [0.5, 1, 2]
const WAIT_SHARE = 0.25

/** A whole swarm in one process: the real protocol, connector and round loop on memory, virtual time and plain vectors. */
export async function createSwarm(options: SwarmOptions): Promise<Swarm> {
  const { seed, parameters } = options
  const clock = new VirtualClock()
  const startedAt = clock.now()
  const network = new MemoryNetwork()
  const pubsub = new MemoryPubsub((a, b) => network.connected(a, b), false)
  const numbers = seeded(seed)
  const problem = createProblem(parameters, (stream) => gaussian(seeded(mix(seed, stream))))
  const plain = manifestFor(parameters, options.codec, options.robust)
  const { momentum } = options
  const manifest: Manifest = momentum === undefined ? plain : { ...plain, momentum }
  const anotherVersion: Manifest = { ...manifest, localSteps: manifest.localSteps + 1, routerEvery: 33 }
  const weather: Weather = { loss: 0, duplication: 0, broken: 0 }
  const errors: string[] = []

  const delay = () => options.delayMs * (0.5 - Math.log(1 - numbers()) / (2 * Math.LN2))
  network.opening = async (from, to) => {
    await clock.sleep(delay())
    const draw = numbers()
    if (draw >= weather.broken) return undefined
    // The same draw says when: at once, or after 1 to 1,024 bytes, as many of which are hellos and lists as deltas.
    const late = (2 * draw) / weather.broken - 1
    const hangUp = () => {
      network.hangUp(from, to)
    }
    if (late >= 0)
      return { left: Math.ceil(2 ** (10 * late)), onBroken: () => void clock.sleep(1).then(hangUp) }
    hangUp()
    return undefined
  }
  pubsub.carry = async (_from, _to, deliver) => {
    const times = numbers() < weather.loss ? 0 : numbers() < weather.duplication ? 2 : 1
    for (let time = 0; time < times; time++) void clock.sleep(delay()).then(deliver).catch(note)
  }
  const note = (error: unknown) => {
    errors.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
  }

  const peers: SimulatedPeer[] = []
  const signers: Signer[] = []
  const paces = seeded(mix(seed, 4))
  const pace = (isStraggler: boolean) => PACES[isStraggler ? 0 : Math.floor(PACES.length * paces())]!
  for (let index = 0; index < options.peers + options.strangers; index++) {
    const { name, signer } = await identity(mix(seed, 1000 + index))
    const isStranger = index >= options.peers
    const isStraggler = !isStranger && index > 0 && numbers() < options.stragglers
    signers.push(options.realKeys ? signer : hashSigner(name))
    peers.push({
      index,
      id: name,
      isStraggler,
      localSteps: manifest.localSteps * (options.unequal ? pace(isStraggler) : 1),
      isStranger,
      isBad: !isStranger && index >= options.peers - (options.attack?.peers ?? 0),
      rounds: 0,
      lastRoundAt: startedAt,
      life: undefined,
      sent: new Map(),
      refusals: new Map(),
      disk: { known: {} },
    })
  }
  const skews = peers.map(() => Math.round((2 * numbers() - 1) * options.clockSkewMs))

  const lies = gaussian(seeded(mix(seed, 3)))
  const knowledge: Knowledge = {
    initial: problem.initial,
    honest: () =>
      peers.flatMap(({ isBad, isStranger, life }) => (isBad || isStranger || !life ? [] : [life.trainer.x])),
    gaussian: lies,
  }

  const live = async (peer: SimulatedPeer): Promise<void> => {
    const { index, id, disk } = peer
    const end = new AbortController()
    const own: Clock = {
      now: () => clock.now() + skews[index]!,
      sleep: (ms, signal) => clock.sleep(ms, signal),
    }
    const attack = peer.isBad ? options.attack!.kind : undefined
    const honestWire = mortal(network.wire(id), end.signal)
    const honest = peer.isStranger && index % 2 === 1 ? newer(honestWire) : honestWire
    const wire = attack === undefined ? honest : misbehaving(honest, attack, clock)
    const reputation = new Reputation(own)
    const start = disk.checkpoint ?? { round: 0, x: problem.initial, velocity: new Float32Array(parameters) }
    const velocity = start.velocity.slice()
    const honestTrainer = createTrainer({
      problem,
      target: problem.target(index),
      start: start.x,
      clock: own,
      stepMs:
        (ROUND_MS / manifest.localSteps) * (peer.isStraggler ? STRAGGLING : 1) * (0.9 + 0.2 * numbers()),
      rate: () => options.rate(clock.now() - startedAt),
      random: seeded(mix(seed, 5000 + index + 131 * start.round)),
    })
    const trainer = attack === undefined ? honestTrainer : poisoned(honestTrainer, attack, knowledge)
    const count = (map: Map<string, number>, key: string, by = 1) => map.set(key, (map.get(key) ?? 0) + by)
    const joined = await joinNetwork({
      manifest: peer.isStranger ? anotherVersion : manifest,
      initial: problem.initial,
      wire,
      pubsub: mortalPubsub(pubsub, id, end.signal),
      dialer: memoryDialer(network, id, end.signal),
      signer: signers[index]!,
      clock: own,
      random: (purpose, counter) => seeded(mix(mix(seed, 9000 + index), hash(purpose)) + counter),
      bootstrap: index === 0 ? [] : [address(peers[0]!.id), address(peers[1]!.id)].slice(0, index),
      known: disk.known,
      restored: disk.own,
      persist: async (state) => {
        if (!end.signal.aborted) disk.own = state
      },
      log: { debug: () => undefined, info: () => undefined },
      events: {
        onTraffic: (kind, direction, bytes) => {
          if (direction === 'out') count(peer.sent, kind, bytes)
        },
        onRefusal: (reason, from) => {
          count(peer.refusals, reason)
          if (options.robust && reputation.blame(from, reason)) network.hangUp(id, from)
        },
        onCopy: () => undefined,
        onCell: () => undefined,
        onRefusedPeer: (_, { detail }) =>
          count(peer.refusals, detail.code === 'MANIFEST_MISMATCH' ? detail.field : detail.code),
      },
    })
    peer.life = { network: joined, trainer, end }
    if (start.round === 0 && index > 0 && options.exchange) {
      const mean = await findStart(joined, own, end.signal)
      if (mean !== undefined && !end.signal.aborted) {
        await trainer.addShared(mean.map((value, k) => value - trainer.x[k]!))
        await joined.gossip.begin(mean, 0)
      }
    }
    await runRounds({
      trainer,
      gossip: joined.gossip,
      averaging: joined.averaging,
      clock: own,
      manifest,
      strategy: options.exchange ? 'comigs' : 'local',
      localSteps: peer.localSteps,
      from: start.round,
      to: Infinity,
      evaluateEvery: 1,
      evaluateBatches: 1,
      waitShare: WAIT_SHARE,
      momentum: momentum === undefined ? undefined : { factor: momentum, velocity },
      protect: undefined,
      checkpoint: async (round) => {
        if (end.signal.aborted) return
        disk.checkpoint = { round, x: trainer.x.slice(), velocity: velocity.slice() }
        disk.known = joined.connector.known()
      },
      onRound: () => {
        peer.rounds++
        peer.lastRoundAt = clock.now()
      },
      signal: end.signal,
    })
  }

  const swarm: Swarm = {
    clock,
    problem,
    peers,
    network,
    weather,
    errors,
    startedAt,
    start(peer) {
      void live(peer).catch(note)
    },
    kill(peer) {
      const { life } = peer
      if (life === undefined) return
      peer.life = undefined
      life.end.abort()
      network.kill(peer.id)
      pubsub.leave(peer.id)
      // A process that is gone runs no timers either.
      void life.network.stop().catch(note)
    },
    partition(groupOf) {
      const groups = groupOf && new Map(peers.map((peer) => [peer.id, groupOf(peer)]))
      network.reachable = (a, b) => groups === undefined || groups.get(a) === groups.get(b)
      network.sever()
    },
    run: (ms) => clock.advance(ms),
    async stop() {
      for (const peer of peers) swarm.kill(peer)
      // A straggler's round has to end first.
      await clock.advance(2 * STRAGGLING * ROUND_MS)
    },
  }
  return swarm
}

const address = (id: string) => `/memory/${id}/p2p/${id}`

function memoryDialer(network: MemoryNetwork, self: string, end: AbortSignal): Dialer {
  return {
    self,
    addresses: () => [`/memory/${self}`],
    connected: () => network.wire(self).connected(),
    async dial([first]) {
      const peer = /^\/memory\/([^/]+)/.exec(first!)![1]!
      if (end.aborted) throw new Error('dead')
      await network.dial(self, peer)
      return peer
    },
    hangUp: async (peer) => network.hangUp(self, peer),
    listen(watcher) {
      network.watch(self, watcher)
      return () => network.watch(self, undefined)
    },
  }
}

/** After its death a peer reaches nobody, whatever its promises still try. */
function mortal(wire: Wire, end: AbortSignal): Wire {
  return {
    ...wire,
    open: async (peer, protocol, options) => {
      if (end.aborted) throw new Error('dead')
      return wire.open(peer, protocol, options)
    },
    handle: async (protocol, handler) => {
      if (!end.aborted) await wire.handle(protocol, handler)
    },
    // `kill` has removed the handlers already, and the next life may have set its own.
    unhandle: async () => undefined,
  }
}

function mortalPubsub(pubsub: MemoryPubsub, self: string, end: AbortSignal) {
  const endpoint = pubsub.endpoint(self)
  return {
    subscribe: (topic: string, judge: Parameters<typeof endpoint.subscribe>[1]) => {
      if (!end.aborted) endpoint.subscribe(topic, judge)
    },
    unsubscribe: (topic: string) => {
      if (!end.aborted) endpoint.unsubscribe(topic)
    },
    publish: async (topic: string, data: Uint8Array) => {
      if (!end.aborted) await endpoint.publish(topic, data)
    },
  }
}

/** Box and Muller. */
function gaussian(random: () => number): () => number {
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}

const mix = (a: number, b: number): number =>
  (Math.imul(a ^ (b + 0x9e3779b9), 0x85ebca6b) ^ (b * 40503)) >>> 0

function hash(text: string): number {
  let code = 0
  for (const letter of text) code = Math.imul(code, 31) + letter.codePointAt(0)!
  return code >>> 0
}
