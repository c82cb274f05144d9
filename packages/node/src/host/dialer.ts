import type { Connection, PeerId } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { LIMITS } from '@comigs/protocol'
import { parseAddress } from './addresses.ts'
import type { Host } from './host.ts'

/** Connections to peers: all that the connector asks of libp2p, and what a simulator answers instead. */
export interface Dialer {
  readonly self: string
  /** Where we listen. */
  addresses(): readonly string[]
  connected(): readonly string[]
  /** @returns who answered */
  dial(addresses: readonly string[]): Promise<string>
  hangUp(peer: string): Promise<void>
  /** @returns how to stop listening */
  listen(events: {
    onOpen(peer: string, direction: 'inbound' | 'outbound'): void
    /** The last connection to it is gone. */
    onClose(peer: string): void
    /** Where we can be reached has changed: a relay took us in, or is gone. */
    onMoved(): void
  }): () => void
}

export function createDialer(host: Host): Dialer {
  return {
    self: host.peerId.toString(),
    addresses: () => host.getMultiaddrs().map(String),
    connected: () => host.getPeers().map(String),
    async dial(addresses) {
      const signal = AbortSignal.timeout(LIMITS.openTimeoutMs)
      const connection = await host.dial(addresses.map(parseAddress), { signal })
      return connection.remotePeer.toString()
    },
    hangUp: (peer) => host.hangUp(peerIdFromString(peer)),
    listen({ onOpen, onClose, onMoved }) {
      const opened = ({ detail }: CustomEvent<Connection>) => {
        onOpen(detail.remotePeer.toString(), detail.direction)
      }
      const closed = ({ detail }: CustomEvent<PeerId>) => {
        onClose(detail.toString())
      }
      let told = host.getMultiaddrs().join()
      const updated = () => {
        const now = host.getMultiaddrs().join()
        if (now === told) return
        told = now
        onMoved()
      }
      host.addEventListener('connection:open', opened)
      host.addEventListener('peer:disconnect', closed)
      host.addEventListener('self:peer:update', updated)
      return () => {
        host.removeEventListener('connection:open', opened)
        host.removeEventListener('peer:disconnect', closed)
        host.removeEventListener('self:peer:update', updated)
      }
    },
  }
}
