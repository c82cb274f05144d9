import { createHash } from 'node:crypto'
import { equals } from 'uint8arrays/equals'
import { toString } from 'uint8arrays/to-string'
import { ProtocolError } from './errors.ts'
import { LIMITS } from './limits.ts'

export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(bytes).digest())
}

/** Bytes that are fetched by their hash, and what proves each piece of them on its own. */
export interface Payload {
  /** SHA-256 of `proof`. */
  readonly hash: Uint8Array
  /** SHA-256 of each chunk, one after the other. */
  readonly proof: Uint8Array
  readonly bytes: Uint8Array
}

/** A chunk is what a frame holds. */
const CHUNK_BYTES = LIMITS.frameBytes
const HASH_BYTES = 32

export function payloadOf(bytes: Uint8Array): Payload {
  const proof = new Uint8Array(HASH_BYTES * Math.ceil(bytes.byteLength / CHUNK_BYTES))
  for (let at = 0, chunk = 0; at < bytes.byteLength; at += CHUNK_BYTES, chunk++)
    proof.set(sha256(bytes.subarray(at, at + CHUNK_BYTES)), HASH_BYTES * chunk)
  return { hash: sha256(proof), proof, bytes }
}

/**
 * A payload on its way, from whichever peers have it: what has come is verified chunk by chunk, so that it stays when a
 * stream breaks, the next peer goes on from there, and whoever sent something wrong is known.
 */
export class PartialPayload {
  readonly hash: Uint8Array
  readonly #bytes: Uint8Array
  #proof: Uint8Array | undefined
  #verified = 0

  constructor(hash: Uint8Array, length: number) {
    this.hash = hash
    this.#bytes = new Uint8Array(length)
  }

  get length(): number {
    return this.#bytes.byteLength
  }

  /** Bytes that are there and right. */
  get verified(): number {
    return this.#verified
  }

  /** Where the next bytes belong. */
  rest(): Uint8Array {
    return this.#bytes.subarray(this.#verified)
  }

  /** @throws ProtocolError `PAYLOAD_WRONG_HASH` */
  prove(peer: string, proof: Uint8Array): void {
    const chunks = Math.ceil(this.length / CHUNK_BYTES)
    const actual = sha256(proof)
    if (proof.byteLength !== HASH_BYTES * chunks || !equals(actual, this.hash)) {
      throw wrongHash(peer, this.hash, actual)
    }
    this.#proof = proof
  }

  /**
   * So many bytes of the rest have come: verifies the chunks that are whole.
   * @throws ProtocolError `PAYLOAD_WRONG_HASH`
   */
  came(peer: string, from: number, bytes: number): void {
    while (this.#verified < from + bytes) {
      const end = Math.min(this.#verified + CHUNK_BYTES, this.length)
      if (end > from + bytes) return
      const at = (this.#verified / CHUNK_BYTES) * HASH_BYTES
      const expected = this.#proof!.subarray(at, at + HASH_BYTES)
      const actual = sha256(this.#bytes.subarray(this.#verified, end))
      if (!equals(actual, expected)) throw wrongHash(peer, expected, actual)
      this.#verified = end
    }
  }

  whole(): Payload {
    return { hash: this.hash, proof: this.#proof!, bytes: this.#bytes }
  }
}

function wrongHash(peer: string, expected: Uint8Array, actual: Uint8Array): ProtocolError {
  const hex = (bytes: Uint8Array) => toString(bytes, 'base16')
  return new ProtocolError({
    code: 'PAYLOAD_WRONG_HASH',
    peer,
    expected: hex(expected),
    actual: hex(actual),
  })
}
