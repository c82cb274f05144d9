import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr, type Multiaddr } from '@multiformats/multiaddr'
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
