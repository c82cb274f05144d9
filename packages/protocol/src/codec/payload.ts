import { ProtocolError } from '../errors.ts'
import type { Random } from '../wire.ts'

/** How a vector of floats is written down as bytes. Decoding is plain JavaScript: every peer gets the same bits. */
export interface Codec<Name extends string = string> {
  readonly name: Name
  /** Bytes of an encoded vector; the length of a payload is known before it is read. */
  byteLength(count: number): number
  /** @param random - decides stochastic rounding */
  encode(values: Float32Array, random: Random): Uint8Array
  /** @throws ProtocolError `PAYLOAD_MALFORMED`, `PAYLOAD_NON_FINITE` for a scale that is not finite */
  decode(bytes: Uint8Array, count: number): Float32Array
}

export function requireLength(codec: Codec, bytes: Uint8Array, count: number): void {
  const expected = codec.byteLength(count)
  if (bytes.byteLength === expected) return
  throw malformed(codec, `${bytes.byteLength} bytes for ${count} values, expected ${expected}`)
}

export const malformed = ({ name }: Codec, reason: string): ProtocolError =>
  new ProtocolError({ code: 'PAYLOAD_MALFORMED', codec: name, reason })

/** @throws ProtocolError `PAYLOAD_NON_FINITE` */
export function requireFinite(values: Float32Array): void {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) throw new ProtocolError({ code: 'PAYLOAD_NON_FINITE', index: i })
  }
}
