import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CODECS, type CodecName, codecOf } from '../../src/codec/codec.ts'
import { largest } from '../../src/codec/top-k.ts'
import { holds, thrown } from '../support/check.ts'
import { randomVector, seeded } from '../support/random.ts'

const NAMES = Object.keys(CODECS) as CodecName[]

const vectors = fc.float32Array({ noNaN: true, noDefaultInfinity: true, maxLength: 600 })
const shares = fc.double({ min: 0.001, max: 1, noNaN: true })

/** The definition: by magnitude, then by place. */
const oracle = (values: Float32Array, k: number): number[] =>
  [...values.keys()]
    .sort((a, b) => Math.abs(values[b]!) - Math.abs(values[a]!) || a - b)
    .slice(0, k)
    .sort((a, b) => a - b)

describe('largest', () => {
  it('is what sorting makes of it, ties to those that come first', () => {
    const few = fc
      .float32Array({ noNaN: true, maxLength: 200, min: -2, max: 2 })
      .map((v) => v.map(Math.round))
    holds([fc.oneof(vectors, few), fc.double({ min: 0, max: 1, noNaN: true })], (values, share) => {
      const k = Math.floor(share * values.length)
      expect([...largest(values, k)]).toEqual(oracle(values, k))
    })
  })

  it('works on a part of a larger array', () => {
    const values = randomVector(100, 1)
    expect([...largest(values.subarray(7, 60), 5)]).toEqual(oracle(values.slice(7, 60), 5))
  })

  it('takes what is not finite first, so that it cannot hide', () => {
    expect([...largest(Float32Array.of(1, NaN, 3e38, -Infinity), 2)]).toEqual([1, 3])
  })
})

describe.each(NAMES)('top-k %s', (values) => {
  it('keeps the largest as the value codec writes them down, and makes zeros of the others', () => {
    holds([vectors, shares, fc.nat()], (vector, share, seed) => {
      const codec = codecOf({ values, topK: share })
      const k = vector.length === 0 ? 0 : Math.max(1, Math.ceil(share * vector.length))
      const kept = oracle(vector, k)
      const written = CODECS[values].encode(
        Float32Array.from(kept, (index) => vector[index]!),
        seeded(seed),
      )
      const bytes = codec.encode(vector, seeded(seed))
      // What a value codec cannot hold (a float16 of 1e30) is somebody else's test.
      const expected = new Float32Array(vector.length)
      CODECS[values].decode(written, k).forEach((value, i) => (expected[kept[i]!] = value))
      expect(codec.decode(bytes, vector.length)).toEqual(expected)
    })
  })

  it('makes as many bytes as it says, for every length and any share', () => {
    holds([fc.nat(700), shares, fc.nat()], (count, share, seed) => {
      const codec = codecOf({ values, topK: share })
      expect(codec.encode(randomVector(count, seed), seeded(seed)).byteLength).toBe(codec.byteLength(count))
    })
  })

  it('refuses any other length', () => {
    const codec = codecOf({ values, topK: 0.1 })
    const bytes = codec.encode(randomVector(200, 1), seeded(1))
    for (const wrong of [bytes.subarray(1), new Uint8Array([...bytes, 0]), new Uint8Array()]) {
      expect(thrown(() => codec.decode(wrong, 200))).toMatchObject({ code: 'PAYLOAD_MALFORMED' })
    }
  })
})

describe('the indices of top-k', () => {
  const codec = codecOf({ values: 'float16', topK: 0.25 })
  // 12 values, 3 of them: b = 2, 3 + 2 bits high, 6 bits low, then 3 halves.
  const vector = Float32Array.of(0, 0, 0, 4, 0, -2, 0, 0, 0, 0, 0, 1)
  const bytes = codec.encode(vector, seeded(1))

  it('are written down as documented', () => {
    // Indices 3, 5, 11: high parts 0, 1, 2 at bits 0, 2, 4; low parts 3, 1, 3.
    expect([...bytes.subarray(0, 2)]).toEqual([0b10101, 0b110111])
    expect(bytes).toHaveLength(2 + 6)
  })

  it('take 6.25 bits each at 5 %, where 5.73 are the least possible', () => {
    const count = 400_000
    const spent = codecOf({ values: 'int8', topK: 0.05 }).byteLength(count) - CODECS.int8.byteLength(20_000)
    expect((8 * spent) / 20_000).toBeCloseTo(6.25, 2)
  })

  it.each([
    ['too many', [0b11101, 0b110111], '3 indices'],
    ['too few', [0b00101, 0b110111], '2 indices'],
    ['none', [0, 0], '0 indices'],
    ['out of range', [0b1010100, 0b110111], 'of 12'],
    ['twice the same', [0b00111, 0b110101], 'ascend'],
    ['descending', [0b00111, 0b110111], 'ascend'],
    ['with bits left over', [0b10101, 0b01110111], 'left over'],
  ])('are refused when they are %s', (_, head, reason) => {
    const hostile = new Uint8Array([...head, ...bytes.subarray(2)])
    const detail = thrown(() => codec.decode(hostile, 12))
    expect(detail).toMatchObject({ code: 'PAYLOAD_MALFORMED', codec: 'top 0.25 float16' })
    expect(JSON.stringify(detail)).toContain(reason)
  })

  it('never lead out of the vector, whatever the bytes', () => {
    const honest = codecOf({ values: 'int8', topK: 0.1 })
    const size = honest.byteLength(100)
    holds(
      [fc.uint8Array({ minLength: size, maxLength: size })],
      (anything) => {
        let decoded: Float32Array | undefined
        let code = ''
        try {
          decoded = honest.decode(anything, 100)
        } catch {
          code = thrown(() => honest.decode(anything, 100)).code
        }
        expect(decoded?.length ?? code).toBeOneOf([100, 'PAYLOAD_MALFORMED', 'PAYLOAD_NON_FINITE'])
      },
      2000,
    )
  })

  it('have one way only to be written down: what decodes encodes to the same bytes', () => {
    const exact = codecOf({ values: 'float32', topK: 0.2 })
    holds(
      [fc.float32Array({ noNaN: true, noDefaultInfinity: true, minLength: 1, maxLength: 300 })],
      (values) => {
        const once = exact.encode(values, seeded(1))
        const again = exact.encode(exact.decode(once, values.length), seeded(1))
        // Zeros among the kept may stand elsewhere the second time.
        const full = exact.decode(once, values.length).filter((value) => value !== 0).length
        const same = Buffer.from(again).equals(Buffer.from(once))
        expect(same || full < Math.ceil(0.2 * values.length)).toBe(true)
      },
    )
  })
})
