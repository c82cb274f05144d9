import { ProtocolError } from '../errors.ts'
import type { Random } from '../wire.ts'
import { HALVES, toHalf } from './float16.ts'

/** How a vector of floats is written down as bytes. Decoding is plain JavaScript: every peer gets the same bits. */
export interface Codec {
  readonly name: CodecName
  /** Bytes of an encoded vector; the length of a payload is known before it is read. */
  byteLength(count: number): number
  /** @param random - decides stochastic rounding */
  encode(values: Float32Array, random: Random): Uint8Array
  /** @throws ProtocolError `PAYLOAD_MALFORMED` */
  decode(bytes: Uint8Array, count: number): Float32Array
}

export type CodecName = 'float32' | 'float16' | 'int8'

const float32: Codec = {
  name: 'float32',
  byteLength: (count) => 4 * count,
  encode(values) {
    const bytes = new Uint8Array(4 * values.length)
    const view = new DataView(bytes.buffer)
    for (let i = 0; i < values.length; i++) view.setFloat32(4 * i, values[i]!, true)
    return bytes
  },
  decode(bytes, count) {
    requireLength(float32, bytes, count)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const values = new Float32Array(count)
    for (let i = 0; i < count; i++) values[i] = view.getFloat32(4 * i, true)
    return values
  },
}

const float16: Codec = {
  name: 'float16',
  byteLength: (count) => 2 * count,
  encode(values) {
    const bytes = new Uint8Array(2 * values.length)
    const view = new DataView(bytes.buffer)
    for (let i = 0; i < values.length; i++) view.setUint16(2 * i, toHalf(values[i]!), true)
    return bytes
  },
  decode(bytes, count) {
    requireLength(float16, bytes, count)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const values = new Float32Array(count)
    for (let i = 0; i < count; i++) values[i] = HALVES[view.getUint16(2 * i, true)]!
    return values
  },
}

/** Values that share one scale. Smaller blocks follow the data better and cost more: 4 bytes in 128 are 3 %. */
const BLOCK = 128

/** Per block a float32 scale, then one signed byte a value: `value = scale · byte`, scale = max |value| / 127. */
const int8: Codec = {
  name: 'int8',
  byteLength: (count) => 4 * Math.ceil(count / BLOCK) + count,
  encode(values, random) {
    const blocks = Math.ceil(values.length / BLOCK)
    const bytes = new Uint8Array(int8.byteLength(values.length))
    const view = new DataView(bytes.buffer)
    for (let block = 0; block < blocks; block++) {
      const from = block * BLOCK
      const to = Math.min(values.length, from + BLOCK)
      let largest = 0
      for (let i = from; i < to; i++) largest = Math.max(largest, Math.abs(values[i]!))
      const scale = Math.fround(largest / 127)
      view.setFloat32(4 * block, scale, true)
      for (let i = from; i < to; i++) {
        // Stochastic rounding: unbiased, so that what rounding does averages out over peers and rounds.
        const level = scale === 0 ? 0 : Math.floor(values[i]! / scale + random())
        view.setInt8(4 * blocks + i, Math.max(-127, Math.min(127, level)))
      }
    }
    return bytes
  },
  decode(bytes, count) {
    requireLength(int8, bytes, count)
    const blocks = Math.ceil(count / BLOCK)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const values = new Float32Array(count)
    for (let i = 0; i < count; i++) {
      values[i] = view.getFloat32(4 * Math.floor(i / BLOCK), true) * view.getInt8(4 * blocks + i)
    }
    return values
  },
}

export const CODECS: Readonly<Record<CodecName, Codec>> = { float32, float16, int8 }

/** @throws ProtocolError `PAYLOAD_NON_FINITE` */
export function requireFinite(values: Float32Array): void {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) throw new ProtocolError({ code: 'PAYLOAD_NON_FINITE', index: i })
  }
}

function requireLength(codec: Codec, bytes: Uint8Array, count: number): void {
  const expected = codec.byteLength(count)
  if (bytes.byteLength === expected) return
  const reason = `${bytes.byteLength} bytes for ${count} values, expected ${expected}`
  throw new ProtocolError({ code: 'PAYLOAD_MALFORMED', codec: codec.name, reason })
}
