import type { GossipSub } from '@chainsafe/libp2p-gossipsub'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { announcementPubsub } from '@comigs/protocol'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify, type Identify } from '@libp2p/identify'
import type { Libp2p, Metrics, PrivateKey } from '@libp2p/interface'
import { ping, type Ping } from '@libp2p/ping'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { createLibp2p } from 'libp2p'
import { NodeError } from '../errors.ts'
import { type Admission, EVERYONE } from './admission.ts'
import { createGater } from './gater.ts'
import { type Upnp, upnp, type UpnpInit } from './upnp.ts'

export interface HostServices extends Record<string, unknown> {
  identify: Identify
  ping: Ping
  pubsub: GossipSub
  upnp?: Upnp
}

export type Host = Libp2p<HostServices>

export interface HostOptions {
  readonly key: PrivateKey
  /** Multiaddrs. */
  readonly listen: readonly string[]
  /** Addresses to tell others beside those we listen on: a container's name, a forwarded port. */
  readonly announce: readonly string[]
  /** Whether to carry connections to peers that cannot be dialled. @default no */
  readonly relay?: boolean
  /** Asks the router to forward our ports. @default it is not asked */
  readonly upnp?: UpnpInit | undefined
  /** Manifest hash. */
  readonly federation: string
  /** Whether many peers may share this machine's address: a swarm, a test. */
  readonly crowded: boolean
  /** @default everyone */
  readonly admission?: Admission | undefined
  /** What we think of a peer, in gossipsub's units. @default nothing bad of anyone */
  opinion?(peer: string): number
  /** Whether we have had enough of a peer. */
  isCutOff?(peer: string): boolean
  readonly metrics?: ((components: never) => Metrics) | undefined
}

/** Unread bytes of one connection are bounded by streams times window. */
const CONNECTION_LIMITS = {
  maxInboundStreams: 64,
  maxOutboundStreams: 64,
  streamOptions: { maxStreamWindowSize: 4 << 20 },
}

/**
 * A connection over which no ping comes back for so long is closed, for a router that was restarted forgets connections
 * without a word, and TCP notices after a quarter of an hour. Far above libp2p's 5 s: a busy loop must not cost connections.
 */
const SILENCE_MS = 60_000

/** libp2p's default would end a relayed connection after two minutes or 128 kB: less than a round of a large model. */
const RESERVATIONS = { applyDefaultLimit: false, maxReservations: 64 }

/**
 * A libp2p node as a peer needs it. Dialling and redialling is the connector's business, since this line of libp2p does
 * neither by itself; training runs in another thread, since a blocked loop loses its connections.
 * @throws NodeError `PORT_IN_USE`, `ADDRESS_UNUSABLE`, `ADDRESS_MALFORMED`
 */
export async function createHost(options: HostOptions): Promise<Host> {
  const { psk, admits } = options.admission ?? EVERYONE
  try {
    const host = await createLibp2p<HostServices>({
      privateKey: options.key,
      addresses: { listen: [...options.listen], appendAnnounce: [...options.announce] },
      transports: [tcp(), webSockets(), circuitRelayTransport()],
      connectionGater: createGater((peer) => admits(peer) && options.isCutOff?.(peer) !== true),
      ...(psk === undefined ? {} : { connectionProtector: preSharedKey({ psk }) }),
      connectionEncrypters: [noise()],
      streamMuxers: [yamux(CONNECTION_LIMITS)],
      connectionManager: {
        maxConnections: 64,
        maxIncomingPendingConnections: 16,
        // libp2p's default of 5 a second and address refuses a swarm behind one address.
        inboundConnectionThreshold: options.crowded ? 1000 : 20,
      },
      connectionMonitor: { pingTimeout: { minTimeout: SILENCE_MS, maxTimeout: SILENCE_MS } },
      services: {
        identify: identify(),
        ping: ping(),
        pubsub: announcementPubsub({
          self: peerIdFromPrivateKey(options.key).toString(),
          federation: options.federation,
          scoreByAddress: !options.crowded,
          opinion: (peer) => options.opinion?.(peer) ?? 0,
        }) as never,
        ...(options.relay === true ? { relay: circuitRelayServer({ reservations: RESERVATIONS }) } : {}),
        ...(options.upnp === undefined ? {} : { upnp: upnp(options.upnp) }),
      },
      ...(options.metrics === undefined ? {} : { metrics: options.metrics }),
    })
    host.services.upnp?.ask()
    return host
  } catch (error) {
    throw listenError(error, options.listen)
  }
}

export function listenError(error: unknown, addresses: readonly string[]): unknown {
  const text =
    error instanceof Error ? `${error.name} ${error.message} ${String(error.cause)}` : String(error)
  const address = addresses.join(', ')
  const refused = /\b(?:EADDRNOTAVAIL|EACCES)\b.*/.exec(text)
  if (refused !== null) {
    const detail = { what: 'listening', address, reason: refused[0] }
    return new NodeError({ code: 'ADDRESS_UNUSABLE', ...detail }, { cause: error })
  }
  if (/EADDRINUSE|address already in use|UnsupportedListenAddressesError|No listen addresses/i.test(text)) {
    return new NodeError({ code: 'PORT_IN_USE', what: 'listening', address }, { cause: error })
  }
  if (/multiaddr/i.test(text)) {
    return new NodeError(
      { code: 'ADDRESS_MALFORMED', address, reason: 'it cannot be parsed' },
      { cause: error },
    )
  }
  return error
}
