import { type Manifest, manifestHash } from '@comigs/protocol'
import type { ComponentLogger, Logger } from '@libp2p/interface'
import { mdns } from '@libp2p/mdns'
import type { Multiaddr } from '@multiformats/multiaddr'
import { systemClock } from '../clock.ts'
import { NodeError } from '../errors.ts'
import { fetchManifest, type Knocker } from './knock.ts'

/** Digits of a manifest's hash that tell federations in a local network apart, and so much of it is told there. */
const TAG_DIGITS = 16

/** As much of a logger as is used. */
interface NearbyLog {
  debug(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export interface NearbyInit {
  /** Manifest hash, or as much of it as is told. */
  readonly federation: string
  /** Where we listen; nothing is told when it is nowhere. */
  addresses(): Multiaddr[]
  /** Anyone in the local network can say anything: it is an address to try, and no more. */
  onFound(peer: string, addresses: readonly string[]): void
  readonly log: NearbyLog
}

/** Finds peers of the federation in the local network by multicast DNS, and is found by them. */
export interface Nearby {
  start(): Promise<void>
  stop(): Promise<void>
}

/**
 * Under a name of the federation's own, so that nobody dials programs of another kind or federations of others. It stands
 * beside the libp2p node, not in it: there whatever the network says would stay in the peer store for hours.
 */
export function createNearby({ federation, addresses, onFound, log }: NearbyInit): Nearby {
  const service = mdns({ serviceTag: `_${federation.slice(0, TAG_DIGITS)}._sub._comigs._udp.local` })({
    addressManager: { getAddresses: addresses } as never,
    logger: loggerTo(log),
  }) as ReturnType<ReturnType<typeof mdns>> & Nearby
  service.addEventListener('peer', ({ detail }) => {
    onFound(detail.id.toString(), detail.multiaddrs.map(String))
  })
  return { start: async () => service.start(), stop: async () => service.stop() }
}

/** Longer than it takes to ask twice. */
const LOOK_MS = 15_000
/** Addresses to try at most: the local network may say anything. */
const MOST_ADDRESSES = 32

/**
 * The manifest of a federation of which a peer is in the local network.
 * @param federation - its hash, or what that begins with: 16 digits at least
 * @throws NodeError `OPTION_INVALID`, `NOBODY_NEARBY`
 */
export async function findNearby(federation: string, knocker: Knocker, log: NearbyLog): Promise<Manifest> {
  const wanted = federation.toLowerCase()
  if (wanted.length < TAG_DIGITS) {
    const reason = `is too short to look for with --mdns: give ${TAG_DIGITS} digits or more`
    throw new NodeError({ code: 'OPTION_INVALID', option: '--federation', value: federation, reason })
  }
  const { promise: answered, resolve } = Promise.withResolvers<Manifest>()
  const tried = new Set<string>()
  const ask = async (address: string): Promise<void> => {
    if (tried.has(address) || tried.size >= MOST_ADDRESSES) return
    tried.add(address)
    try {
      const manifest = await fetchManifest(address, knocker)
      if (manifestHash(manifest).startsWith(wanted)) resolve(manifest)
    } catch (error) {
      log.debug({ address, error: String(error) }, 'found nearby, and did not answer')
    }
  }
  const nearby = createNearby({
    federation: wanted,
    addresses: () => [],
    onFound(peer, addresses) {
      for (const address of addresses) void ask(`${address}/p2p/${peer}`)
    },
    log,
  })
  await nearby.start()
  const over = new AbortController()
  try {
    const found = await Promise.race([answered, systemClock.sleep(LOOK_MS, over.signal)])
    if (found !== undefined) return found
  } finally {
    over.abort()
    await nearby.stop()
  }
  throw new NodeError({ code: 'NOBODY_NEARBY', federation, seconds: LOOK_MS / 1000 })
}

/** What it says when it cannot listen at all. The rest are packets of others. */
const CANNOT_LISTEN = 'mdns error'

function loggerTo(log: NearbyLog): ComponentLogger {
  const logger: Logger = Object.assign(() => undefined, {
    enabled: false,
    trace: () => undefined,
    newScope: () => logger,
    error(message: string, error: unknown) {
      if (message === CANNOT_LISTEN)
        log.warn({ error: String(error) }, 'no multicast DNS here: nobody will be found by it')
      else log.debug({ error: String(error) }, message)
    },
  })
  return { forComponent: () => logger }
}
