import type { Clock, Exchange, PeerAddresses, Random } from '@comigs/protocol'
import { LIMITS } from '@comigs/protocol'
import type { Connection, PeerId } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import type { Multiaddr } from '@multiformats/multiaddr'
import type { Logger } from 'pino'
import type { KnownPeers } from '../state/state-directory.ts'
import { peerOf, readableAddress } from './addresses.ts'
import type { Host } from './host.ts'

export interface ConnectorInit {
  readonly host: Host
  readonly exchange: Exchange
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** Dialled for ever. */
  readonly bootstrap: readonly Multiaddr[]
  /** From the last run. */
  readonly known: KnownPeers
}

/**
 * Keeps the peer connected: dials bootstrap addresses and every peer it hears of, again and again with growing pauses,
 * introduces us on each new connection, and asks who else is there. This line of libp2p does none of that by itself.
 */
export interface Connector {
  start(): void
  stop(): void
  /** A peer said where it listens. */
  learn(peer: string, addresses: readonly string[]): void
  /** For peer exchange: peers that we are connected to. */
  peers(count: number, asker: string): PeerAddresses[]
  known(): KnownPeers
}

interface Target {
  readonly addresses: readonly Multiaddr[]
  /** Known from the start for a peer we heard of, from the first connection for a bootstrap address without an id. */
  peer: string | undefined
  failures: number
  nextTryMs: number
  dialling: boolean
}

const TICK_MS = 250
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 60_000
/** A peer of another federation stays one: ask again rarely. */
const REFUSED_PAUSE_MS = 600_000
/** Between two questions for further peers. */
const EXCHANGE_PAUSE_MS = 5_000
/** Connections that we look for by ourselves; a cell has at most 15 members. */
const ENOUGH_PEERS = 16
/** Peers whose addresses are remembered. */
const BOOK_SIZE = 256

export function createConnector(init: ConnectorInit): Connector {
  const { host, exchange, clock, random, log } = init
  const self = host.peerId.toString()
  const book = new Map<string, readonly string[]>(Object.entries(init.known))
  const targets = new Map<string, Target>()
  const stopped = new AbortController()
  let nextExchangeMs = clock.now() + EXCHANGE_PAUSE_MS

  const target = (key: string, addresses: readonly Multiaddr[], peer: string | undefined): Target => {
    let found = targets.get(key)
    if (found === undefined) {
      found = { addresses, peer, failures: 0, nextTryMs: 0, dialling: false }
      targets.set(key, found)
    }
    return found
  }
  const isConnected = (peer: string | undefined) =>
    peer !== undefined && host.getPeers().some((connected) => connected.toString() === peer)

  const pause = (one: Target, ms: number) => {
    one.nextTryMs = clock.now() + ms * (0.5 + random())
  }

  const dial = async (name: string, one: Target): Promise<void> => {
    one.dialling = true
    try {
      const connection = await host.dial([...one.addresses], {
        signal: AbortSignal.timeout(LIMITS.openTimeoutMs),
      })
      one.peer = connection.remotePeer.toString()
      one.failures = 0
      pause(one, FIRST_PAUSE_MS)
    } catch (error) {
      one.failures++
      pause(one, Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** one.failures))
      log.debug({ peer: name, failures: one.failures, error: messageOf(error) }, 'dial failed')
    } finally {
      one.dialling = false
    }
  }

  const tick = () => {
    for (const address of init.bootstrap) {
      const one = target(address.toString(), [address], peerOf(address))
      if (one.peer !== self && ready(one)) void dial(address.toString(), one)
    }
    if (host.getPeers().length >= ENOUGH_PEERS) return
    const admitted = exchange.admitted()
    if (admitted.length > 0 && clock.now() >= nextExchangeMs) {
      nextExchangeMs = clock.now() + EXCHANGE_PAUSE_MS
      const peer = admitted[Math.floor(random() * admitted.length)]!
      void askForPeers(peer).catch((error: unknown) => {
        log.debug({ peer, error: messageOf(error) }, 'peer exchange failed')
      })
    }
    for (const [peer, addresses] of book) {
      const readable = addresses.map(withPeer(peer)).filter((address) => address !== undefined)
      const one = target(peer, readable, peer)
      if (readable.length > 0 && ready(one)) void dial(peer, one)
    }
  }
  const ready = (one: Target) => !one.dialling && !isConnected(one.peer) && clock.now() >= one.nextTryMs

  const askForPeers = async (peer: string): Promise<void> => {
    for (const { peer: other, addresses } of await exchange.fetchPeers(peer, LIMITS.exchangedPeers)) {
      remember(other, addresses)
    }
  }

  const greet = async (peer: string): Promise<void> => {
    try {
      await exchange.hello(peer)
      await askForPeers(peer)
    } catch (error) {
      log.info({ peer, error: messageOf(error) }, 'introduction failed')
      for (const one of targets.values()) if (one.peer === peer) pause(one, REFUSED_PAUSE_MS)
      await host.hangUp(peerIdFromString(peer)).catch(() => undefined)
    }
  }

  const remember = (peer: string, addresses: readonly string[]) => {
    if (
      peer === self ||
      addresses.length === 0 ||
      addresses.every((address) => readableAddress(address) === undefined)
    )
      return
    const kept = addresses.slice(0, LIMITS.exchangedAddresses)
    if (book.get(peer)?.join() === kept.join()) return
    book.delete(peer) // to the end of the map's order: the oldest entry is the first to go
    book.set(peer, kept)
    targets.delete(peer)
    if (book.size > BOOK_SIZE) book.delete(book.keys().next().value!)
  }

  const onOpen = ({ detail }: CustomEvent<Connection>) => {
    if (detail.direction === 'outbound') void greet(detail.remotePeer.toString())
  }
  const onDisconnect = ({ detail }: CustomEvent<PeerId>) => {
    exchange.forget(detail.toString())
  }

  return {
    start() {
      host.addEventListener('connection:open', onOpen)
      host.addEventListener('peer:disconnect', onDisconnect)
      void (async () => {
        while (!stopped.signal.aborted) {
          tick()
          await clock.sleep(TICK_MS, stopped.signal)
        }
      })()
    },
    stop() {
      stopped.abort()
      host.removeEventListener('connection:open', onOpen)
      host.removeEventListener('peer:disconnect', onDisconnect)
    },
    learn: remember,
    peers: (count, asker) =>
      exchange
        .admitted()
        .filter((peer) => peer !== asker && book.has(peer))
        .slice(0, count)
        .map((peer) => ({ peer, addresses: [...book.get(peer)!] })),
    known: () => Object.fromEntries(book),
  }
}

/** An address that insists on the peer's identity. */
function withPeer(peer: string) {
  return (text: string): Multiaddr | undefined => {
    const address = readableAddress(text)
    return address === undefined || peerOf(address) !== undefined
      ? address
      : address.encapsulate(`/p2p/${peer}`)
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
