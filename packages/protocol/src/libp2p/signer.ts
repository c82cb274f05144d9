import type { PrivateKey } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import type { Signer } from '../wire.ts'

/** Ed25519 only: the id of such a peer is its public key, so that anyone can verify what it signed. */
export function createSigner(key: Pick<PrivateKey, 'sign' | 'type'>): Signer {
  if (key.type !== 'Ed25519') throw new Error(`the peer's key is ${key.type}; only Ed25519 is supported`)
  return {
    sign: async (message) => key.sign(message),
    async verify(author, message, signature) {
      try {
        const id = peerIdFromString(author)
        return id.type === 'Ed25519' && (await id.publicKey.verify(message, signature))
      } catch {
        return false
      }
    },
  }
}
