import {
  type Averaging,
  type Clock,
  CODECS,
  createAveraging,
  createExchange,
  createGossip,
  type Exchange,
  type Gossip,
  type GossipEvents,
  limitRequests,
  type Manifest,
  type OwnState,
  type ProtocolError,
  type Pubsub,
  type Random,
  type Signer,
  type Wire,
} from '@comigs/protocol'
import { type Connector, type ConnectorLog, createConnector } from './host/connector.ts'
import type { Dialer } from './host/dialer.ts'
import type { KnownPeers } from './state/state-directory.ts'

/** What a peer's protocol is made with, wherever it runs. */
export interface ProtocolInit {
  readonly manifest: Manifest
  /** y(0). */
  readonly initial: Float32Array
  readonly wire: Wire
  readonly pubsub: Pubsub
  readonly signer: Signer
  readonly clock: Clock
  /** Streams of random numbers by purpose and counter. */
  random(purpose: string, counter: number): Random
  readonly restored: OwnState | undefined
  persist(state: OwnState): Promise<void>
  /** Whether to follow a peer at all. @default everyone */
  admits?(peer: string): boolean
  /** What to publish of how good we are. @default nothing */
  perplexity?(): number | undefined
  readonly events: GossipEvents & {
    onRefusedPeer(peer: string, error: ProtocolError): void
  }
}

export interface NetworkInit extends ProtocolInit {
  readonly dialer: Dialer
  readonly bootstrap: readonly string[]
  readonly known: KnownPeers
  readonly log: ConnectorLog
  readonly events: ProtocolInit['events'] & {
    onCell(cell: string): void
  }
}

/** Who is where, as far as the protocol asks. */
export interface Whereabouts {
  /** Where we listen. */
  addresses(): readonly string[]
  peers: Connector['peers']
  outsiders: Connector['outsiders']
  onAdmitted(peer: string, addresses: readonly string[]): void
}

/** What peers say to each other, of which each part needs the others. */
export interface Protocol {
  readonly exchange: Exchange
  readonly gossip: Gossip
  readonly averaging: Averaging
}

/** A peer's side of the swarm: who it is connected to, whom it follows, and whom it averages with. */
export interface Network extends Protocol {
  readonly connector: Connector
  stop(): Promise<void>
}

/** Puts the parts of the protocol together; nothing is started. */
export function createProtocol(init: ProtocolInit, whereabouts: Whereabouts): Protocol {
  const { manifest, initial, wire, clock, events } = init
  const exchange: Exchange = createExchange({
    wire,
    clock,
    manifest,
    holdings: {
      payload: (hash) => gossip.holdings.payload(hash),
      copy: (author) => gossip.holdings.copy(author),
      announcements: () => gossip.holdings.announcements(),
      peers: whereabouts.peers,
    },
    addresses: whereabouts.addresses,
    onTraffic: events.onTraffic,
    onAdmitted: whereabouts.onAdmitted,
    onRefused: events.onRefusedPeer,
    onOffence: events.onRefusal,
  })
  const gossip: Gossip = createGossip({
    manifest,
    initial,
    wire,
    pubsub: init.pubsub,
    exchange,
    signer: init.signer,
    clock,
    random: init.random,
    restored: init.restored,
    persist: init.persist,
    ...(init.admits === undefined ? {} : { admits: init.admits }),
    ...(init.perplexity === undefined ? {} : { perplexity: init.perplexity }),
    events,
  })
  // A federation that pays for exact deltas wants exact averages, too.
  const isExact = ['float32', 'float16'].includes(manifest.codec.values)
  const averaging = createAveraging({
    initial,
    codec: CODECS[isExact ? 'float16' : 'int8'],
    differenceCodec: CODECS[isExact ? 'float16' : 'int4'],
    wire,
    clock,
    random: init.random('averaging', 0),
    robust: manifest.robust,
    isAdmitted: (peer) => exchange.admitted().includes(peer),
    outsiders: whereabouts.outsiders,
    events,
  })
  return { exchange, gossip, averaging }
}

/** Joins the swarm: the same over libp2p in a peer and in memory in the simulator. */
export async function joinNetwork(init: NetworkInit): Promise<Network> {
  const { clock, log, events } = init
  const wire = limitRequests(init.wire, clock, (peer, protocol) => {
    events.onRefusal('rate', peer, `too many requests (${protocol})`)
  })
  const catchUp = (peer: string) => {
    gossip.catchUp(peer).catch((error: unknown) => {
      log.debug({ peer, error: String(error) }, 'catching up failed')
    })
  }
  const { exchange, gossip, averaging } = createProtocol(
    { ...init, wire },
    {
      addresses: () => init.dialer.addresses(),
      peers: (wanted, asker) => connector.peers(wanted, asker),
      outsiders: () => connector.outsiders(),
      onAdmitted(peer, addresses) {
        connector.learn(peer, addresses)
        if (connector.members().includes(peer)) catchUp(peer)
      },
    },
  )
  const connector: Connector = createConnector({
    dialer: init.dialer,
    exchange,
    clock,
    random: init.random('connector', 0),
    log,
    bootstrap: init.bootstrap,
    known: init.known,
    onCell(cell) {
      gossip.enter(cell)
      for (const peer of connector.members()) catchUp(peer)
      events.onCell(cell)
    },
  })
  await exchange.start()
  await averaging.start()
  connector.start()
  await gossip.start()
  return {
    exchange,
    gossip,
    averaging,
    connector,
    async stop() {
      connector.stop()
      gossip.stop()
      await averaging.stop()
      await exchange.stop()
    },
  }
}

/** How long a joiner looks for copies to start from, before it starts alone. */
const JOIN_TIMEOUT_MS = 15_000
const POLL_MS = 100
/** A joiner is where it belongs when its cell has not changed for so long. */
const SETTLED_MS = 1000

/**
 * Where a newcomer starts: at the mean of the copies of its cell.
 * @returns undefined when there is nobody to start from
 */
export async function findStart(
  { exchange, gossip, connector }: Network,
  clock: Clock,
  signal: AbortSignal,
): Promise<Float32Array | undefined> {
  const deadline = clock.now() + JOIN_TIMEOUT_MS
  let cell = connector.cell()
  let since = clock.now()
  const isSettled = () => connector.members().length > 0 && clock.now() - since >= SETTLED_MS
  while (!isSettled() && clock.now() < deadline && !signal.aborted) {
    await clock.sleep(POLL_MS, signal)
    if (connector.cell() !== cell || exchange.admitted().length === 0) {
      cell = connector.cell()
      since = clock.now()
    }
  }
  await Promise.all(connector.members().map((peer) => gossip.catchUp(peer).catch(() => undefined)))
  return gossip.joinAt()
}
