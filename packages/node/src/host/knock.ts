import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import {
  createExchange,
  createLibp2pWire,
  isProtocolError,
  type Manifest,
  unreachable,
} from '@comigs/protocol'
import { identify } from '@libp2p/identify'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { createLibp2p } from 'libp2p'
import { systemClock } from '../clock.ts'
import { NodeError } from '../errors.ts'
import { parseAddress } from './addresses.ts'
import { insistOnIdentity } from './gater.ts'

const TIMEOUT_MS = 10_000

/**
 * Asks a bootstrap peer for its federation's manifest, over a connection of its own that is closed again.
 * @throws NodeError `ADDRESS_MALFORMED`, `BOOTSTRAP_FAILED` saying how far it came; ProtocolError `MANIFEST_INVALID`
 */
export async function fetchManifest(address: string): Promise<Manifest> {
  const target = parseAddress(address)
  const host = await createLibp2p({
    addresses: { listen: [] },
    transports: [tcp(), webSockets()],
    connectionGater: insistOnIdentity,
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { identify: identify() },
  })
  try {
    const connection = await host.dial(target, { signal: AbortSignal.timeout(TIMEOUT_MS) })
    const exchange = createExchange({
      wire: createLibp2pWire(host),
      clock: systemClock,
      manifest: undefined,
      holdings: { payload: () => undefined, copy: () => undefined, announcements: () => [], peers: () => [] },
      addresses: () => [],
      onTraffic: () => undefined,
      onAdmitted: () => undefined,
      onRefused: () => undefined,
    })
    return await exchange.hello(connection.remotePeer.toString())
  } catch (error) {
    if (isProtocolError(error) && error.detail.code !== 'PEER_UNREACHABLE') throw error
    const { detail } = unreachable(address, error)
    if (detail.code !== 'PEER_UNREACHABLE') throw error
    throw new NodeError(
      { code: 'BOOTSTRAP_FAILED', address, stage: detail.stage, reason: detail.reason },
      { cause: error },
    )
  } finally {
    await host.stop()
  }
}
