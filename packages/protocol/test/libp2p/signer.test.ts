import { generateKeyPair } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { describe, expect, it } from 'vitest'
import { createSigner } from '../../src/libp2p/signer.ts'
import { identity } from '../support/signers.ts'

const MESSAGE = new TextEncoder().encode('hello')

describe('createSigner', () => {
  it('signs what everyone can verify from the peer id alone', async () => {
    const [alice, bob] = [await identity(1), await identity(2)]
    const signature = await alice.signer.sign(MESSAGE)
    expect(signature).toHaveLength(64)
    expect(await bob.signer.verify(alice.name, MESSAGE, signature)).toBe(true)
    expect(await bob.signer.verify(bob.name, MESSAGE, signature)).toBe(false)
    expect(await bob.signer.verify(alice.name, MESSAGE.subarray(1), signature)).toBe(false)
  })

  it.each(['secp256k1', 'RSA'] as const)(
    'refuses a key of type %s, to sign with and to verify',
    async (type) => {
      const key = await generateKeyPair(type, 2048)
      expect(() => createSigner(key as never)).toThrow('only Ed25519 is supported')
      const author = peerIdFromPrivateKey(key as never) as { toString(): string }
      const signature = await key.sign(MESSAGE)
      const { signer } = await identity(1)
      expect(await signer.verify(author.toString(), MESSAGE, signature)).toBe(false)
    },
  )

  it.each(['', 'alice', '12D3KooW', `12D3KooW${'1'.repeat(200)}`])(
    'verifies nothing for %j, which is no peer',
    async (author) => {
      const { signer } = await identity(1)
      expect(await signer.verify(author, MESSAGE, new Uint8Array(64))).toBe(false)
    },
  )
})
