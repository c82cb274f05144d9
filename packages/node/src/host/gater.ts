import type { ConnectionGater, MultiaddrConnection, PeerId } from '@libp2p/interface'
import { peerOf } from './addresses.ts'

/** Decides about connections as soon as the other side has proved who it is, before anything is said. */
export function createGater(admits: (peer: string) => boolean): ConnectionGater {
  // An id of another type is not bound to its key in this line of libp2p.
  const isWelcome = (peer: PeerId) => peer.type === 'Ed25519' && admits(peer.toString())
  return {
    denyDialPeer: (peer) => !isWelcome(peer),
    denyInboundEncryptedConnection: (peer) => !isWelcome(peer),
    /**
     * This line of libp2p dials `/ip4/…/p2p/X` and is content with whoever answers: it never compares the id that it asked
     * for with the key that it got. We do.
     */
    denyOutboundEncryptedConnection(peer: PeerId, connection: MultiaddrConnection) {
      const wanted = peerOf(connection.remoteAddr)
      return (wanted !== undefined && wanted !== peer.toString()) || !isWelcome(peer)
    },
  }
}
