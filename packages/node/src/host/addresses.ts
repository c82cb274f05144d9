import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr, type Multiaddr } from '@multiformats/multiaddr'
import { createHash } from 'node:crypto'
import { NodeError } from '../errors.ts'

/**
 * Reads an address from outside: a multiaddr, with or without the peer's id at its end.
 * @throws NodeError `ADDRESS_MALFORMED`
 */
export function parseAddress(text: string): Multiaddr {
  try {
    const address = multiaddr(text)
    const components = address.getComponents()
    if (components.length === 0) throw new Error('it is empty')
    for (const { name, value } of components) if (name === 'p2p') requirePeerId(value!)
    return address
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new NodeError({ code: 'ADDRESS_MALFORMED', address: text, reason }, { cause: error })
  }
}

/** Below the ports that systems give to outgoing connections. */
const OWN_PORTS = { first: 20_000, count: 12_000 }

/** Where any port will do, one that comes from the peer's id, so that who comes back is found where it was. */
export function withOwnPorts(listen: readonly string[], peer: string): string[] {
  const drawn = createHash('sha256').update(peer).digest().readUInt32LE(0)
  let next = OWN_PORTS.first + (drawn % OWN_PORTS.count)
  return listen.map((address) => address.replace(/\/tcp\/0(?=\/|$)/, () => `/tcp/${next++}`))
}

/** A multiaddr takes anything for one. */
function requirePeerId(text: string): void {
  try {
    peerIdFromString(text)
  } catch (error) {
    throw new Error('the id after /p2p/ is cut or mistyped', { cause: error })
  }
}

/** The peer id at the end of an address, where it has one. */
export function peerOf(address: Multiaddr): string | undefined {
  const last = address.getComponents().at(-1)
  return last?.name === 'p2p' ? last.value : undefined
}

/** The address, where it can be read; addresses that others tell us may be anything. */
export function readableAddress(text: string): Multiaddr | undefined {
  try {
    return parseAddress(text)
  } catch {
    return undefined
  }
}
