import { ProtocolError } from '../errors.ts'
import type { Random } from '../wire.ts'
import { toBytes, toFloats } from './little-endian.ts'
import { type Codec, malformed, requireLength } from './payload.ts'

/** Values that share one scale. Smaller blocks follow the data better and cost more: 4 bytes in 128 are 3 % of int8. */
export const BLOCK = 128

/** The largest levels. The lowest that the bits have room for, one below the negative of that, is nobody's. */
const INT8_TOP = 127
const INT4_TOP = 7

const blocksOf = (count: number): number => Math.ceil(count / BLOCK)

/**
 * 8 bits a value and a scale for each block of 128:
 * - `4 · ceil(count / 128)` bytes: the scales, float32 little-endian, each max |value| of its block / 127;
 * - `count` bytes: the levels, -127 to 127 in two's complement. `value = scale · level`.
 */
export const int8: Codec<'int8'> = {
  name: 'int8',
  byteLength: (count) => 4 * blocksOf(count) + count,
  encode(values, random) {
    const bytes = new Uint8Array(int8.byteLength(values.length))
    const levels = new Int8Array(bytes.buffer, 4 * blocksOf(values.length))
    bytes.set(toBytes(quantise(values, INT8_TOP, levels, random)))
    return bytes
  },
  decode(bytes, count) {
    requireLength(int8, bytes, count)
    const scales = readScales(int8, bytes, count)
    const levels = new Int8Array(bytes.buffer, bytes.byteOffset + 4 * scales.length, count)
    requireLevels(int8, levels, INT8_TOP)
    return scaled(levels, scales)
  },
}

/**
 * 4 bits a value and a scale for each block of 128:
 * - `4 · ceil(count / 128)` bytes: the scales, float32 little-endian, each max |value| of its block / 7;
 * - `ceil(count / 2)` bytes: the levels, -7 to 7 in two's complement, value 2i in the low and value 2i + 1 in the high half of
 *   byte i; a half that is left over is 0. `value = scale · level`.
 */
export const int4: Codec<'int4'> = {
  name: 'int4',
  byteLength: (count) => 4 * blocksOf(count) + Math.ceil(count / 2),
  encode(values, random) {
    const bytes = new Uint8Array(int4.byteLength(values.length))
    // One more for the half that may be left over.
    const levels = new Int8Array(values.length + 1)
    bytes.set(toBytes(quantise(values, INT4_TOP, levels, random)))
    const packed = bytes.subarray(4 * blocksOf(values.length))
    for (let i = 0; i < packed.length; i++) packed[i] = (levels[2 * i]! & 0xf) | (levels[2 * i + 1]! << 4)
    return bytes
  },
  decode(bytes, count) {
    requireLength(int4, bytes, count)
    const scales = readScales(int4, bytes, count)
    const packed = bytes.subarray(4 * scales.length)
    if (count % 2 === 1 && packed.at(-1)! >>> 4 !== 0) throw malformed(int4, 'the last half is not 0')
    const levels = new Int8Array(2 * packed.length)
    for (let i = 0; i < packed.length; i++) {
      const pair = packed[i]!
      levels[2 * i] = (pair << 28) >> 28
      levels[2 * i + 1] = (pair << 24) >> 28
    }
    requireLevels(int4, levels, INT4_TOP)
    return scaled(levels.subarray(0, count), scales)
  },
}

/**
 * Rounds each value to one of the two levels around it, up with the probability that makes the mean right: unbiased, so
 * that what rounding does averages out over peers and rounds.
 * @param top - the largest level
 * @returns the scales
 */
function quantise(values: Float32Array, top: number, levels: Int8Array, random: Random): Float32Array {
  const scales = new Float32Array(blocksOf(values.length))
  for (let block = 0; block < scales.length; block++) {
    const from = block * BLOCK
    const to = Math.min(values.length, from + BLOCK)
    let largest = 0
    for (let i = from; i < to; i++) {
      const magnitude = Math.abs(values[i]!)
      // A NaN must end up in the scale, where everyone sees it, rather than in a level, where it would be a 0.
      if (magnitude > largest || Number.isNaN(magnitude)) largest = magnitude
    }
    const scale = Math.fround(largest / top)
    scales[block] = scale
    if (scale === 0) continue
    for (let i = from; i < to; i++) {
      const level = Math.floor(values[i]! / scale + random())
      // A scale rounded down makes the largest value a hair more than the top level.
      levels[i] = level > top ? top : level < -top ? -top : level
    }
  }
  return scales
}

function readScales(codec: Codec, bytes: Uint8Array, count: number): Float32Array {
  const scales = toFloats(bytes.subarray(0, 4 * blocksOf(count)))
  const bad = scales.findIndex((scale) => !Number.isFinite(scale))
  if (bad >= 0) throw new ProtocolError({ code: 'PAYLOAD_NON_FINITE', index: bad * BLOCK })
  if (scales.some((scale) => scale < 0)) throw malformed(codec, 'a scale is negative')
  return scales
}

function requireLevels(codec: Codec, levels: Int8Array, top: number): void {
  if (levels.includes(-top - 1)) throw malformed(codec, `a level of ${-top - 1}, at least ${-top}`)
}

function scaled(levels: Int8Array, scales: Float32Array): Float32Array {
  const values = new Float32Array(levels.length)
  for (let block = 0; block < scales.length; block++) {
    const scale = scales[block]!
    const to = Math.min(values.length, (block + 1) * BLOCK)
    // The product of a float and a small integer is exact in a double; storing rounds once. The same bits everywhere.
    for (let i = block * BLOCK; i < to; i++) values[i] = scale * levels[i]!
  }
  return values
}
