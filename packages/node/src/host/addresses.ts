import { multiaddr, type Multiaddr } from '@multiformats/multiaddr'
import { NodeError } from '../errors.ts'

/**
 * Reads an address from outside: a multiaddr, with or without the peer's id at its end.
 * @throws NodeError `ADDRESS_MALFORMED`
 */
export function parseAddress(text: string): Multiaddr {
  try {
    const address = multiaddr(text)
    if (address.protoNames().length === 0) throw new Error('it is empty')
    return address
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new NodeError({ code: 'ADDRESS_MALFORMED', address: text, reason }, { cause: error })
  }
}

/** The address, where it can be read; addresses that others tell us may be anything. */
export function readableAddress(text: string): Multiaddr | undefined {
  try {
    return parseAddress(text)
  } catch {
    return undefined
  }
}
