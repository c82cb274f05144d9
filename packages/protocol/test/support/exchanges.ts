import type { ProtocolError } from '../../src/errors.ts'
import { createExchange, type Exchange, type Holdings } from '../../src/exchange.ts'
import type { RefusalReason } from '../../src/gossip.ts'
import type { Manifest } from '../../src/manifest.ts'
import { PartialPayload, type Payload } from '../../src/payload.ts'
import { limitRequests } from '../../src/rate-limiter.ts'
import { MANIFEST } from './federation.ts'
import type { MemoryNetwork } from './memory-network.ts'
import type { VirtualClock } from './virtual-clock.ts'

/** An exchange without gossip behind it, and what it told. */
export interface Party {
  readonly name: string
  readonly exchange: Exchange
  readonly admitted: { readonly peer: string; readonly addresses: readonly string[] }[]
  readonly refused: { readonly peer: string; readonly error: ProtocolError }[]
  readonly traffic: string[]
  readonly offences: { readonly peer: string; readonly reason: RefusalReason }[]
}

export interface PartyOptions {
  /** Null: a joiner that has none yet. */
  readonly manifest?: Manifest | null
  readonly holdings?: Partial<Holdings>
  readonly addresses?: readonly string[]
}

const NOTHING: Holdings = {
  payload: () => undefined,
  copy: () => undefined,
  announcements: () => [],
  peers: () => [],
}

export async function startParty(
  network: MemoryNetwork,
  clock: VirtualClock,
  name: string,
  { manifest = MANIFEST, holdings = {}, addresses = [`/memory/${name}`] }: PartyOptions = {},
): Promise<Party> {
  const admitted: Party['admitted'] = []
  const refused: Party['refused'] = []
  const traffic: string[] = []
  const offences: Party['offences'] = []
  const exchange = createExchange({
    wire: limitRequests(network.wire(name), clock, (peer) => offences.push({ peer, reason: 'rate' })),
    clock,
    manifest: manifest ?? undefined,
    holdings: { ...NOTHING, ...holdings },
    addresses: () => addresses,
    onTraffic: (kind, direction, bytes) => traffic.push(`${kind} ${direction} ${bytes}`),
    onAdmitted: (peer, theirs) => admitted.push({ peer, addresses: theirs }),
    onRefused: (peer, error) => refused.push({ peer, error }),
    onOffence: (reason, peer) => offences.push({ peer, reason }),
  })
  await exchange.start()
  return { name, exchange, admitted, refused, traffic, offences }
}

/** Fetches a whole payload from one peer. */
export async function fetchPayload(
  exchange: Exchange,
  peer: string,
  { hash, length }: { readonly hash: Uint8Array; readonly length: number },
): Promise<Payload> {
  const payload = new PartialPayload(hash, length)
  await exchange.fetchPayload(peer, payload)
  return payload.whole()
}
