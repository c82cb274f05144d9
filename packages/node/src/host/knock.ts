import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import {
  createExchange,
  createLibp2pWire,
  isProtocolError,
  type Manifest,
  unreachable,
} from '@comigs/protocol'
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import type { PrivateKey } from '@libp2p/interface'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import type { Multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { systemClock } from '../clock.ts'
import { NodeError } from '../errors.ts'
import { parseAddress } from './addresses.ts'
import type { Admission } from './admission.ts'
import { createGater } from './gater.ts'

const TIMEOUT_MS = 10_000
/** Peers tell each other where they see each other right after they have met. */
const IDENTIFY_MS = 1000

/** How being off the other's list looks from here: it says nothing, and the connection is gone. */
const HUNG_UP = 'it hung up as soon as it knew who we are; perhaps its --allow list lacks us'

/** How a private federation's key looks from here to who has another, or none: as noise, or as nothing at all. */
const KEY_ERRORS = ['EncryptionFailedError', 'UnexpectedEOFError', 'TimeoutError']

/** Who knocks: an allow-list must know us, and a private federation hears only who has its key. */
export interface Knocker {
  readonly key: PrivateKey
  readonly admission: Admission
}

/** What a short visit to a peer tells. */
export interface Visit {
  readonly peer: string
  readonly manifest: Manifest
  /** How far its clock is ahead of ours. */
  readonly skewMs: number | undefined
  /** Where it sees us come from; undefined when it does not say so in time. */
  readonly observed: Multiaddr | undefined
}

/** Asks a bootstrap peer for its federation's manifest. */
export const fetchManifest = async (address: string, knocker: Knocker): Promise<Manifest> =>
  (await knock(address, knocker)).manifest

/**
 * Introduces us to a bootstrap peer over a connection of its own, which is closed again.
 * @throws NodeError `ADDRESS_MALFORMED`, `BOOTSTRAP_FAILED` saying how far it came; ProtocolError `MANIFEST_INVALID`,
 *   `MANIFEST_MISMATCH` when it speaks another version
 */
export async function knock(address: string, { key, admission }: Knocker): Promise<Visit> {
  const target = parseAddress(address)
  const { psk, admits } = admission
  // When all lines are open somebody listens there: whatever goes wrong from then on, even a wait in vain, is no failure to
  // dial. Through a relay there are two, of which the relay's is the first.
  const lines = target.getComponents().some(({ name }) => name === 'p2p-circuit') ? 2 : 1
  let opened = 0
  const host = await createLibp2p({
    privateKey: key,
    addresses: { listen: [] },
    transports: [tcp(), webSockets(), circuitRelayTransport()],
    connectionGater: createGater(admits),
    ...(psk === undefined ? {} : { connectionProtector: protector(psk, () => opened++) }),
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { identify: identify() },
  })
  const { promise: observed, resolve: see } = Promise.withResolvers<Multiaddr | undefined>()
  host.addEventListener('peer:identify', ({ detail }) => {
    see(detail.observedAddr)
  })
  let isConnected = false
  try {
    const connection = await host.dial(target, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
      onProgress({ type }) {
        if (psk === undefined && type === 'upgrader:encrypt-outbound-connection') opened++
      },
    })
    isConnected = true
    const exchange = createExchange({
      wire: createLibp2pWire(host),
      clock: systemClock,
      manifest: undefined,
      holdings: { payload: () => undefined, copy: () => undefined, announcements: () => [], peers: () => [] },
      addresses: () => [],
      onTraffic: () => undefined,
      onAdmitted: () => undefined,
      onRefused: () => undefined,
      onOffence: () => undefined,
    })
    const peer = connection.remotePeer.toString()
    const manifest = await exchange.hello(peer)
    void systemClock.sleep(IDENTIFY_MS).then(() => {
      see(undefined)
    })
    return { peer, manifest, skewMs: exchange.skewMs(peer), observed: await observed }
  } catch (error) {
    if (isProtocolError(error) && error.detail.code !== 'PEER_UNREACHABLE') throw error
    const { detail } = unreachable(address, error)
    if (detail.code !== 'PEER_UNREACHABLE') throw error
    const isOpen = isConnected || opened >= lines
    const stage = isOpen && detail.stage === 'dial' ? 'handshake' : detail.stage
    const reason = isConnected && detail.stage === 'dial' ? HUNG_UP : detail.reason
    const isOfKey = isOpen && !isConnected && error instanceof Error && KEY_ERRORS.includes(error.name)
    const hint =
      psk === undefined ? 'perhaps a private federation: --psk' : 'perhaps it has another --psk, or none'
    throw new NodeError(
      { code: 'BOOTSTRAP_FAILED', address, stage, reason: isOfKey ? `${reason}; ${hint}` : reason },
      { cause: error },
    )
  } finally {
    await host.stop()
  }
}

/** What exchanges the halves of a key as soon as there is a connection, and says that there is one. */
function protector(psk: Uint8Array, onOpen: () => void): ReturnType<typeof preSharedKey> {
  return (components) => {
    const keyed = preSharedKey({ psk })(components)
    return {
      protect(...args) {
        onOpen()
        return keyed.protect(...args)
      },
    }
  }
}
