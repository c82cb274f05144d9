import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CodecName, CODECS, requireFinite } from '../../src/codec/codec.ts'
import { HALVES } from '../../src/codec/float16.ts'
import { holds, thrown } from '../support/check.ts'
import { randomVector, seeded } from '../support/random.ts'

const NAMES = Object.keys(CODECS) as CodecName[]
const BLOCK = 128

const vectors = (max = 1e30, maxLength = 400) =>
  fc.float32Array({
    noNaN: true,
    noDefaultInfinity: true,
    min: -Math.fround(max),
    max: Math.fround(max),
    maxLength,
  })

/** What a vector is after it has been written down and read again. */
function roundTrip(name: CodecName, values: Float32Array, seed = 1): Float32Array {
  const codec = CODECS[name]
  return codec.decode(codec.encode(values, seeded(seed)), values.length)
}

/** Largest |value| of each block. */
function peaks(values: Float32Array): number[] {
  const blocks = Math.ceil(values.length / BLOCK)
  return Array.from({ length: blocks }, (_, block) =>
    values
      .subarray(block * BLOCK, (block + 1) * BLOCK)
      .reduce((most, value) => Math.max(most, Math.abs(value)), 0),
  )
}

describe.each(NAMES)('codec %s', (name) => {
  const codec = CODECS[name]

  it('is called what it is looked up by', () => {
    expect(codec.name).toBe(name)
  })

  it('makes as many bytes as it says, for every length', () => {
    for (let count = 0; count <= 3 * BLOCK + 1; count++) {
      expect(codec.encode(randomVector(count, count), seeded(1)).byteLength).toBe(codec.byteLength(count))
    }
  })

  it('encodes the same vector with the same random numbers to the same bytes', () => {
    holds([vectors(), fc.nat()], (values, seed) => {
      expect(codec.encode(values, seeded(seed))).toEqual(codec.encode(values, seeded(seed)))
    })
  })

  it('decodes the same bytes to the same bits, also at an odd place in a larger buffer', () => {
    holds([vectors()], (values) => {
      const bytes = codec.encode(values, seeded(3))
      const larger = new Uint8Array(bytes.byteLength + 2)
      larger.set(bytes, 1)
      const first = codec.decode(bytes, values.length)
      const second = codec.decode(larger.subarray(1, -1), values.length)
      expect(Buffer.from(second.buffer).equals(Buffer.from(first.buffer))).toBe(true)
    })
  })

  it('leaves the vector that it encodes alone, and decodes to one of its own', () => {
    const values = randomVector(300, 4)
    const before = values.slice()
    const bytes = codec.encode(values, seeded(1))
    const decoded = codec.decode(bytes, 300)
    bytes.fill(0xff)
    expect(values).toEqual(before)
    expect(decoded).toEqual(roundTrip(name, before))
  })

  it('refuses every length but the right one', () => {
    const bytes = codec.encode(randomVector(200, 5), seeded(1))
    const larger = new Uint8Array(bytes.byteLength + 1)
    for (const wrong of [bytes.subarray(1), larger, new Uint8Array()]) {
      expect(thrown(() => codec.decode(wrong, 200))).toMatchObject({ code: 'PAYLOAD_MALFORMED', codec: name })
    }
    expect(thrown(() => codec.decode(bytes, 201)).code).toBe('PAYLOAD_MALFORMED')
    expect(thrown(() => codec.decode(bytes, 199)).code).toBe('PAYLOAD_MALFORMED')
  })

  it('reads an empty vector from no bytes', () => {
    expect(codec.decode(new Uint8Array(), 0)).toHaveLength(0)
  })
})

describe('float32', () => {
  it('keeps every bit, NaN and the sign of zero included', () => {
    holds([fc.float32Array({ maxLength: 300 })], (values) => {
      const back = roundTrip('float32', values)
      expect([...back].every((value, i) => Object.is(value, values[i]))).toBe(true)
    })
  })

  it('is little-endian on every machine', () => {
    expect(CODECS.float32.encode(Float32Array.of(1, -2), seeded(1))).toEqual(
      Uint8Array.of(0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0),
    )
  })
})

describe('float16', () => {
  it('is little-endian on every machine', () => {
    expect(CODECS.float16.encode(Float32Array.of(1, -2), seeded(1))).toEqual(Uint8Array.of(0, 0x3c, 0, 0xc0))
  })

  it('keeps all halves', () => {
    const back = roundTrip('float16', HALVES)
    expect(HALVES.findIndex((half, i) => !Object.is(half, back[i]))).toBe(-1)
  })

  it('is wrong by at most half a step: 2^-11 of a normal value, 2^-25 of a small one', () => {
    holds([vectors(65_504)], (values) => {
      const back = roundTrip('float16', values)
      values.forEach((value, i) => {
        expect(Math.abs(back[i]! - value)).toBeLessThanOrEqual(Math.max(2 ** -11 * Math.abs(value), 2 ** -25))
      })
    })
  })
})

describe.each([
  ['int8', 127],
  ['int4', 7],
] as const)('%s', (name, top) => {
  it('is wrong by at most one scale step of the block that a value stands in', () => {
    // Near the smallest float a scale has no bits left to be exact with; nothing of ours is that small.
    const usual = vectors().map((values) => values.map((value) => (Math.abs(value) < 1e-30 ? 0 : value)))
    holds([usual, fc.nat()], (values, seed) => {
      const back = roundTrip(name, values, seed)
      const steps = peaks(values).map((peak) => peak / top)
      values.forEach((value, i) => {
        expect(Math.abs(back[i]! - value)).toBeLessThanOrEqual(steps[Math.floor(i / BLOCK)]! * (1 + 1e-5))
      })
    })
  })

  it('keeps the largest value of a block, so that nothing is clipped', () => {
    const values = Float32Array.of(0.1, -3, 2.5, ...randomVector(125, 6), 1e-3, 7)
    const back = roundTrip(name, values)
    expect(back[1]).toBeCloseTo(-3, 5)
    expect(back[129]).toBeCloseTo(7, 5)
  })

  it('gives each block a scale of its own: a large value spoils its neighbours only', () => {
    const values = new Float32Array(2 * BLOCK + 40).fill(0.001)
    values[0] = 1000
    const back = roundTrip(name, values)
    for (const value of back.subarray(BLOCK)) expect(value).toBeCloseTo(0.001, 8)
  })

  it('is unbiased: over many seeds the mean is the value', () => {
    const values = randomVector(2 * BLOCK + 17, 7)
    const sum = new Float64Array(values.length)
    const draws = 2000
    for (let seed = 0; seed < draws; seed++)
      roundTrip(name, values, seed).forEach((value, i) => (sum[i]! += value))
    // A draw is off by at most one step: its deviation is half a step at most. Six deviations of the mean, for 273 values.
    const tolerance = (6 * 0.5) / top / Math.sqrt(draws)
    values.forEach((value, i) => {
      expect(Math.abs(sum[i]! / draws - value)).toBeLessThan(tolerance)
    })
  })

  it('rounds values between two levels up as often as they are nearer to the upper one', () => {
    const values = Float32Array.of(top, ...new Float32Array(100).fill(3.25))
    const up = [...roundTrip(name, values)].filter((value) => value === 4).length
    const down = [...roundTrip(name, values)].filter((value) => value === 3).length
    expect(up + down).toBe(100)
    expect(up).toBeGreaterThan(10)
    expect(up).toBeLessThan(45)
  })

  it('reads a block of zeros as zeros, whatever is drawn', () => {
    const values = new Float32Array(BLOCK + 5)
    values[BLOCK + 1] = 1
    const bytes = CODECS[name].encode(values, () => 0.999)
    expect(CODECS[name].decode(bytes, BLOCK + 5).subarray(0, BLOCK)).toEqual(new Float32Array(BLOCK))
  })

  it('never draws for a value that is a level already', () => {
    const values = Float32Array.of(top, -top, 0, 5, -1)
    for (const drawn of [0, 0.5, 0.999]) {
      const bytes = CODECS[name].encode(values, () => drawn)
      expect(CODECS[name].decode(bytes, 5)).toEqual(values)
    }
  })

  it('writes what is not finite down as a scale that is refused, wherever in a block it stands', () => {
    holds([fc.nat(299), fc.constantFrom(NaN, Infinity, -Infinity)], (at, bad) => {
      const values = randomVector(300, 9)
      values[at] = bad
      const bytes = CODECS[name].encode(values, seeded(1))
      const index = BLOCK * Math.floor(at / BLOCK)
      expect(thrown(() => CODECS[name].decode(bytes, 300))).toEqual({ code: 'PAYLOAD_NON_FINITE', index })
    })
  })
})

describe('int8', () => {
  it('puts the scales in front, float32 little-endian, one for each block', () => {
    const bytes = CODECS.int8.encode(Float32Array.of(254, -254, 2), seeded(1))
    expect(bytes).toEqual(Uint8Array.of(0, 0, 0, 0x40, 127, 0x81, 1))
  })
})

describe('int4', () => {
  it('puts the scales in front, and two levels in a byte, the first in the lower half', () => {
    const bytes = CODECS.int4.encode(Float32Array.of(14, -14, 2, 0, -2), seeded(1))
    expect(bytes).toEqual(Uint8Array.of(0, 0, 0, 0x40, 0x97, 0x01, 0x0f))
  })

  it('refuses a half that is left over and not 0', () => {
    const bytes = Uint8Array.of(0, 0, 0, 0x40, 0x97, 0x11)
    expect(CODECS.int4.decode(bytes, 4)).toEqual(Float32Array.of(14, -14, 2, 2))
    expect(thrown(() => CODECS.int4.decode(bytes, 3)).code).toBe('PAYLOAD_MALFORMED')
  })
})

describe('what no encoder makes', () => {
  it.each([
    ['int8', 'a level below -127', Uint8Array.of(0, 0, 0, 0x40, 0x81, 0x80)],
    ['int8', 'a negative scale', Uint8Array.of(0, 0, 0, 0xc0, 1, 1)],
    ['int4', 'a level below -7', Uint8Array.of(0, 0, 0, 0x40, 0x89)],
    ['int4', 'a negative scale', Uint8Array.of(0, 0, 0, 0xc0, 0x11)],
  ] as const)('is refused: %s with %s', (name, _, bytes) => {
    expect(thrown(() => CODECS[name].decode(bytes, 2)).code).toBe('PAYLOAD_MALFORMED')
  })
})

describe('requireFinite', () => {
  it.each([NaN, Infinity, -Infinity])('names the first element that is %d', (bad) => {
    const values = Float32Array.of(1, 2, bad, bad)
    expect(thrown(() => requireFinite(values))).toEqual({ code: 'PAYLOAD_NON_FINITE', index: 2 })
  })

  it('accepts every finite float', () => {
    holds([vectors(3e38)], (values) => {
      requireFinite(values)
    })
  })

  it.each([
    ['float32', Uint8Array.of(0, 0, 0xc0, 0x7f)],
    ['float16', Uint8Array.of(0, 0x7c)],
    ['int8', Uint8Array.of(0, 0, 0xc0, 0x7f, 1)],
    ['int8', Uint8Array.of(0, 0, 0x80, 0x7f, 1)],
    ['int8', Uint8Array.of(0, 0, 0x7f, 0x7f, 127)],
    ['int4', Uint8Array.of(0, 0, 0xc0, 0x7f, 1)],
    ['int4', Uint8Array.of(0, 0, 0x7f, 0x7f, 7)],
  ] as const)('catches what %s can be made to decode to', (name, bytes) => {
    expect(thrown(() => requireFinite(CODECS[name].decode(bytes, 1)))).toEqual({
      code: 'PAYLOAD_NON_FINITE',
      index: 0,
    })
  })
})
