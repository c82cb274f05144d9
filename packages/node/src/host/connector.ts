import {
  type Cell,
  type Clock,
  Directory,
  type Exchange,
  findCell,
  isProtocolError,
  keepLast,
  LIMITS,
  type PeerAddresses,
  type PeersWanted,
  positionOf,
  type Random,
} from '@comigs/protocol'
import type { KnownPeers } from '../state/state-directory.ts'
import { parseAddress, peerOf, readableAddress } from './addresses.ts'
import type { Dialer } from './dialer.ts'

export interface ConnectorInit {
  readonly dialer: Dialer
  readonly exchange: Pick<Exchange, 'admitted' | 'hello' | 'forget' | 'fetchPeers'>
  readonly clock: Clock
  readonly random: Random
  readonly log: ConnectorLog
  /** Dialled for ever, for as long as there are not enough others. */
  readonly bootstrap: readonly string[]
  /** From the last run. */
  readonly known: KnownPeers
  /** The cell that we belong to is another one now. */
  onCell(cell: Cell): void
}

/** As much of a logger as is used. */
export interface ConnectorLog {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
}

/**
 * Keeps the peer connected to its cell and to a few peers outside: dials bootstrap addresses and the peers that it hears
 * of, again and again with growing pauses, introduces us on each new connection, and asks who else is there. This line of
 * libp2p does none of that by itself.
 */
export interface Connector {
  start(): void
  stop(): void
  /** A peer that we are in touch with said where it listens. */
  learn(peer: string, addresses: readonly string[]): void
  /** Somebody in the local network says that a peer listens there. */
  found(peer: string, addresses: readonly string[]): void
  cell(): Cell
  /** Admitted peers of our cell. */
  members(): readonly string[]
  /** Admitted peers outside of it. */
  outsiders(): readonly string[]
  /** For peer exchange. */
  peers(wanted: PeersWanted, asker: string): PeerAddresses[]
  known(): KnownPeers
  /** How many places are dialled, or will be. */
  targets(): number
}

interface Target {
  readonly addresses: readonly string[]
  /** Known from the start for a peer we heard of, from the first connection for a bootstrap address without an id. */
  peer: string | undefined
  failures: number
  nextTryMs: number
  dialling: boolean
  /** Since when a connection that we dialled is open. */
  openSinceMs: number | undefined
}

const TICK_MS = 250
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 60_000
/** A peer of another federation stays one: ask again rarely. */
const REFUSED_PAUSE_MS = 600_000
/** Between two questions for further peers, and two looks at which cell is ours: at first, and while nothing changes. */
const EXCHANGE_PAUSE_MS = 5_000
const LONGEST_EXCHANGE_PAUSE_MS = 30_000
/** Connections outside of the cell that we look for, and that we keep when others look for us. */
const OUTSIDERS = 4
const MOST_OUTSIDERS = 12
/** So often one outsider is replaced, for averaging mixes the faster the less it keeps to the same. */
const ROTATION_MS = 60_000
/** Peers found in the local network that are dialled, the latest: anyone there can make up any number. */
const MOST_NEARBY = 32
/** With so many connections the bootstrap peers can be left alone. */
const ENOUGH_PEERS = 16

export function createConnector(init: ConnectorInit): Connector {
  const { dialer, exchange, clock, random, log } = init
  const { self } = dialer
  const position = positionOf(self)
  const directory = new Directory({ self, clock, random })
  for (const [peer, addresses] of Object.entries(init.known)) directory.heard(peer, addresses, Infinity)
  const bootstrap = new Map(init.bootstrap.map((address) => [address, peerOf(parseAddress(address))]))
  /** By what their targets are called. */
  const nearby = new Map<string, { readonly peer: string; readonly addresses: readonly string[] }>()
  const targets = new Map<string, Target>()
  const stopped = new AbortController()
  let cell: Cell = ''
  let exchangePauseMs = EXCHANGE_PAUSE_MS
  let nextExchangeMs = clock.now() + exchangePauseMs
  let nextRotationMs = clock.now() + ROTATION_MS
  let unlisten: (() => void) | undefined

  const target = (key: string, addresses: readonly string[], peer: string | undefined): Target => {
    let found = targets.get(key)
    if (found === undefined || found.addresses.join() !== addresses.join()) {
      found = { addresses, peer, failures: 0, nextTryMs: 0, dialling: false, openSinceMs: undefined }
      targets.set(key, found)
    }
    return found
  }
  const isInside = (peer: string) => positionOf(peer).startsWith(cell)
  const outsiders = () => exchange.admitted().filter((peer) => !isInside(peer))

  const pause = (one: Target, ms: number) => {
    one.nextTryMs = clock.now() + ms * (0.5 + random())
  }

  const failed = (one: Target) => {
    one.failures++
    pause(one, Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** one.failures))
  }

  const dial = async (name: string, one: Target): Promise<void> => {
    one.dialling = true
    try {
      one.peer = await dialer.dial(
        one.peer === undefined ? one.addresses : one.addresses.map(insisting(one.peer)),
      )
      one.openSinceMs = clock.now()
      pause(one, FIRST_PAUSE_MS)
    } catch (error) {
      failed(one)
      log.debug({ peer: name, failures: one.failures, error: messageOf(error) }, 'dial failed')
    } finally {
      one.dialling = false
    }
  }

  const tick = () => {
    const connected = new Set(dialer.connected())
    const ready = (one: Target) =>
      !one.dialling && !(one.peer !== undefined && connected.has(one.peer)) && clock.now() >= one.nextTryMs
    const dialPeer = (peer: string, addresses: readonly string[]) => {
      if (connected.has(peer)) return
      const one = target(peer, addresses, peer)
      if (ready(one)) void dial(peer, one)
    }

    if (connected.size < ENOUGH_PEERS) {
      for (const [address, peer] of bootstrap) {
        const one = target(address, [address], peer)
        if (one.peer !== self && ready(one)) void dial(address, one)
      }
      for (const [name, { peer, addresses }] of nearby) {
        const one = target(name, addresses, peer)
        if (ready(one)) void dial(name, one)
      }
    }
    // Everyone of our cell, alive or not: who was away may be back.
    const entries = directory.entries()
    for (const entry of entries) {
      if (entry.position.startsWith(cell)) dialPeer(entry.peer, entry.addresses)
    }
    const outside = outsiders()
    if (outside.length < OUTSIDERS && cell !== '') {
      for (const entry of directory.outside(cell, OUTSIDERS)) dialPeer(entry.peer, entry.addresses)
    }
    if (outside.length > MOST_OUTSIDERS) drop(outside)
    if (clock.now() >= nextRotationMs) {
      nextRotationMs = clock.now() + ROTATION_MS
      if (outside.length >= OUTSIDERS) drop(outside)
    }
    if (clock.now() >= nextExchangeMs) {
      exchangePauseMs = Math.min(LONGEST_EXCHANGE_PAUSE_MS, 1.5 * exchangePauseMs)
      nextExchangeMs = clock.now() + exchangePauseMs * (0.5 + random())
      lookAround()
    }
    if (targets.size > 2 * entries.length + bootstrap.size + nearby.size) forgetTargets()
  }

  const lookAround = () => {
    for (const peer of exchange.admitted()) directory.heard(peer, [])
    const admitted = exchange.admitted()
    const peer = admitted[Math.floor(random() * admitted.length)]
    if (peer !== undefined) {
      void askForPeers(peer).catch((error: unknown) => {
        log.debug({ peer, error: messageOf(error) }, 'peer exchange failed')
      })
    }
    findOurs()
  }

  const findOurs = () => {
    const next = findCell(
      position,
      directory.live().map((entry) => entry.position),
      cell,
    )
    if (next === cell) return
    log.info({ from: cell, to: next }, 'another cell')
    cell = next
    exchangePauseMs = EXCHANGE_PAUSE_MS
    init.onCell(cell)
  }

  const drop = (outside: readonly string[]) => {
    const peer = outside[Math.floor(random() * outside.length)]!
    void dialer.hangUp(peer).catch(() => undefined)
  }

  /** Those that the directory has forgotten. */
  const forgetTargets = () => {
    for (const [key, { peer, dialling }] of targets) {
      if (dialling || bootstrap.has(key) || nearby.has(key)) continue
      if (peer === undefined || directory.get(peer) === undefined) targets.delete(key)
    }
  }

  const askForPeers = async (peer: string): Promise<void> => {
    // Near us including the sibling, which we have to know the size of; and elsewhere.
    const near = position.slice(0, cell.length + 1)
    const questions = [
      { count: LIMITS.exchangedPeers, near: position, outside: false },
      { count: 2 * OUTSIDERS, near, outside: true },
    ]
    for (const wanted of questions) {
      for (const { peer: other, addresses, ageSeconds } of await exchange.fetchPeers(peer, wanted)) {
        remember(other, addresses, 1000 * ageSeconds)
      }
    }
    findOurs()
  }

  const dialled = (peer: string) => [...targets.values()].filter((one) => one.peer === peer)

  /**
   * An outsider that hangs up soon has enough of others: dialled again at once, again and again, it would do nothing but shake
   * hands. Of our cell nobody is hung up on for that.
   */
  const closed = (one: Target) => {
    if (one.openSinceMs === undefined) return
    if (clock.now() - one.openSinceMs >= LONGEST_PAUSE_MS) one.failures = 0
    one.openSinceMs = undefined
    failed(one)
  }

  const greet = async (peer: string): Promise<void> => {
    try {
      await exchange.hello(peer)
      if (isInside(peer)) for (const one of dialled(peer)) one.failures = 0
    } catch (error) {
      log.info({ peer, error: messageOf(error) }, 'introduction failed')
      // What got lost on the way says nothing about the peer.
      const isOfOthers = isProtocolError(error, 'MANIFEST_MISMATCH', 'MANIFEST_INVALID')
      await dialer.hangUp(peer).catch(() => undefined)
      for (const one of dialled(peer)) {
        closed(one)
        if (isOfOthers) pause(one, REFUSED_PAUSE_MS)
      }
      return
    }
    await askForPeers(peer).catch((error: unknown) => {
      log.debug({ peer, error: messageOf(error) }, 'peer exchange failed')
    })
  }

  const remember = (peer: string, addresses: readonly string[], ageMs: number) => {
    const readable = addresses.filter((address) => readableAddress(address) !== undefined)
    if (readable.length > 0) directory.heard(peer, readable.slice(0, LIMITS.exchangedAddresses), ageMs)
  }

  return {
    start() {
      unlisten = dialer.listen({
        onOpen(peer, direction) {
          if (direction === 'outbound') void greet(peer)
        },
        onClose(peer) {
          exchange.forget(peer)
          directory.lost(peer)
          dialled(peer).forEach(closed)
        },
        onMoved() {
          for (const peer of exchange.admitted()) {
            void exchange.hello(peer).catch((error: unknown) => {
              log.debug({ peer, error: messageOf(error) }, 'could not tell it where we are now')
            })
          }
        },
      })
      void (async () => {
        while (!stopped.signal.aborted) {
          tick()
          await clock.sleep(TICK_MS, stopped.signal)
        }
      })()
    },
    stop() {
      stopped.abort()
      unlisten?.()
    },
    learn(peer, addresses) {
      remember(peer, addresses, 0)
    },
    // Not into the directory: that says who is alive, which divides the swarm into cells, and this can be anybody's word.
    found(peer, addresses) {
      const readable = addresses.filter((address) => readableAddress(address) !== undefined)
      if (peer === self || readable.length === 0) return
      const told = { peer, addresses: readable.slice(0, LIMITS.exchangedAddresses) }
      keepLast(nearby, MOST_NEARBY, `nearby ${peer}`, told)
    },
    cell: () => cell,
    members: () => exchange.admitted().filter(isInside),
    outsiders,
    peers({ count, near, outside }, asker) {
      const place = /^[01]*$/.test(near) ? near : ''
      const found = outside ? directory.outside(place, count + 1) : directory.near(place, count + 1)
      return found
        .filter(({ peer, addresses }) => peer !== asker && addresses.length > 0)
        .slice(0, count)
        .map((entry) => ({
          peer: entry.peer,
          addresses: [...entry.addresses],
          ageSeconds: Math.max(0, Math.round(directory.ageMs(entry) / 1000)),
        }))
    },
    known: () => Object.fromEntries(directory.entries().map(({ peer, addresses }) => [peer, addresses])),
    targets: () => targets.size,
  }
}

/** An address that insists on the peer's identity. */
function insisting(peer: string) {
  return (text: string): string => (peerOf(parseAddress(text)) === undefined ? `${text}/p2p/${peer}` : text)
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
