import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { createHash } from 'node:crypto'
import { equals } from 'uint8arrays/equals'
import { createSigner } from '../../src/libp2p/signer.ts'
import type { Signer } from '../../src/wire.ts'

/** A hash under a key that follows from the name: proves nothing to an attacker, but is cheap and catches every mistake. */
export function hashSigner(self: string): Signer {
  const signature = (author: string, message: Uint8Array): Uint8Array =>
    new Uint8Array(createHash('sha256').update(`key of ${author}\0`).update(message).digest())
  return {
    sign: async (message) => signature(self, message),
    verify: (author, message, given) => equals(signature(author, message), given),
  }
}

export interface Identity {
  readonly name: string
  readonly key: PrivateKey
  readonly signer: Signer
}

/** A real Ed25519 identity. */
export async function identity(seed: number): Promise<Identity> {
  const bytes = new Uint8Array(32).fill(seed)
  new DataView(bytes.buffer).setUint32(0, seed)
  // Two copies of @libp2p/interface are installed; their keys differ in a type parameter only.
  const key = (await generateKeyPairFromSeed('Ed25519', bytes)) as unknown as PrivateKey
  return { name: peerIdFromPrivateKey(key).toString(), key, signer: createSigner(key) }
}
