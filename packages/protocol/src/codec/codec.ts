import { int4, int8 } from './blockwise.ts'
import { HALVES, toHalf } from './float16.ts'
import { toBytes, toFloats, toShorts } from './little-endian.ts'
import { type Codec, requireLength } from './payload.ts'
import { topK } from './top-k.ts'

export { type Codec, requireFinite } from './payload.ts'

export type CodecName = 'float32' | 'float16' | 'int8' | 'int4'

/** As a manifest says it: which numbers, and which share of them; without `topK` all. */
export interface CodecChoice {
  readonly values: CodecName
  readonly topK?: number | undefined
}

/** `4 · count` bytes: IEEE 754 binary32, little-endian. */
const float32: Codec<'float32'> = {
  name: 'float32',
  byteLength: (count) => 4 * count,
  encode: toBytes,
  decode(bytes, count) {
    requireLength(float32, bytes, count)
    return toFloats(bytes)
  },
}

/** `2 · count` bytes: IEEE 754 binary16, little-endian, rounded to nearest, ties to even. */
const float16: Codec<'float16'> = {
  name: 'float16',
  byteLength: (count) => 2 * count,
  encode(values) {
    const halves = new Uint16Array(values.length)
    for (let i = 0; i < values.length; i++) halves[i] = toHalf(values[i]!)
    return toBytes(halves)
  },
  decode(bytes, count) {
    requireLength(float16, bytes, count)
    const halves = toShorts(bytes)
    const values = new Float32Array(count)
    for (let i = 0; i < count; i++) values[i] = HALVES[halves[i]!]!
    return values
  },
}

/** Every value of a vector, in one of four ways. */
export const CODECS: { readonly [Name in CodecName]: Codec<Name> } = { float32, float16, int8, int4 }

export function codecOf({ values, topK: share }: CodecChoice): Codec {
  return share === undefined ? CODECS[values] : topK(share, CODECS[values])
}
