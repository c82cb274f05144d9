import type { ConnectionGater, MultiaddrConnection, PeerId } from '@libp2p/interface'
import { peerOf } from './addresses.ts'

/**
 * This line of libp2p dials `/ip4/…/p2p/X` and is content with whoever answers: it never compares the id that it asked for
 * with the key that it got. We do.
 */
export const insistOnIdentity: ConnectionGater = {
  denyOutboundEncryptedConnection(peer: PeerId, connection: MultiaddrConnection) {
    const wanted = peerOf(connection.remoteAddr)
    return wanted !== undefined && wanted !== peer.toString()
  },
}
