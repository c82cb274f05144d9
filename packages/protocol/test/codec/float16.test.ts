import { getFloat16, setFloat16 } from '@petamoriken/float16'
import { describe, expect, it } from 'vitest'
import { HALVES, toHalf } from '../../src/codec/float16.ts'
import { seeded } from '../support/random.ts'

const view = new DataView(new ArrayBuffer(4))

/** The oracle: an independent implementation. */
const oracle = {
  toHalf(value: number): number {
    setFloat16(view, 0, value)
    return view.getUint16(0)
  },
  fromHalf(half: number): number {
    view.setUint16(0, half)
    return getFloat16(view, 0)
  },
}

function floatOfBits(bits: number): number {
  view.setUint32(0, bits)
  return view.getFloat32(0)
}

const isNaNHalf = (half: number): boolean => (half & 0x7c00) === 0x7c00 && (half & 0x3ff) !== 0

/** Indices at which the two disagree; a loop of expects over 65,536 values would take seconds. */
const disagreements = (count: number, agree: (i: number) => boolean): number[] =>
  Array.from({ length: count }, (_, i) => i).filter((i) => !agree(i))

describe('halves', () => {
  it('are read as the oracle reads them, all 65,536', () => {
    expect(HALVES).toHaveLength(0x10000)
    expect(disagreements(0x10000, (half) => Object.is(HALVES[half], oracle.fromHalf(half)))).toEqual([])
  })

  it('are written back to the same bits, all but the NaNs, which stay NaN', () => {
    const survives = (half: number) =>
      isNaNHalf(half) ? isNaNHalf(toHalf(HALVES[half]!)) : toHalf(HALVES[half]!) === half
    expect(disagreements(0x10000, survives)).toEqual([])
  })

  it('round to the nearest, and to even on a tie, between all neighbouring halves', () => {
    // The midpoint of two halves is a float; the floats next to it must go to either side.
    const roundsRight = (half: number) => {
      const [below, above] = [HALVES[half]!, HALVES[half + 1]!]
      const middle = (below + above) / 2
      const bits = new Uint32Array(Float32Array.of(middle).buffer)[0]!
      return (
        toHalf(middle) === half + (half & 1) &&
        toHalf(floatOfBits(bits - 1)) === half &&
        toHalf(floatOfBits(bits + 1)) === half + 1 &&
        toHalf(-middle) === half + (half & 1) + 0x8000
      )
    }
    expect(disagreements(0x7bff, roundsRight)).toEqual([])
  })

  it('are what the oracle makes of 200,000 random floats, subnormals and NaNs among them', () => {
    const random = seeded(1)
    const floats = Array.from({ length: 200_000 }, () => floatOfBits(Math.floor(random() * 0x1_0000_0000)))
    const agrees = (i: number) => {
      const [ours, theirs] = [toHalf(floats[i]!), oracle.toHalf(floats[i]!)]
      return isNaNHalf(theirs) ? isNaNHalf(ours) : ours === theirs
    }
    expect(disagreements(floats.length, agrees)).toEqual([])
  })

  it('are what the oracle makes of 200,000 random floats of the sizes that deltas have', () => {
    const random = seeded(2)
    const floats = Float32Array.from({ length: 200_000 }, () => (random() - 0.5) * 2 ** (40 * random() - 26))
    expect(disagreements(floats.length, (i) => toHalf(floats[i]!) === oracle.toHalf(floats[i]!))).toEqual([])
  })

  it.each([
    ['the largest half', 65504, 0x7bff],
    ['what still rounds to it', floatOfBits(0x477fefff), 0x7bff],
    ['half a step beyond it', 65520, 0x7c00],
    ['far beyond it', 1e10, 0x7c00],
    ['the largest float', floatOfBits(0x7f7fffff), 0x7c00],
    ['infinity', Infinity, 0x7c00],
    ['minus infinity', -Infinity, 0xfc00],
    ['the smallest normal half', 2 ** -14, 0x0400],
    ['the largest subnormal half', 1023 * 2 ** -24, 0x03ff],
    ['the smallest subnormal half', 2 ** -24, 0x0001],
    ['half of it, a tie', 2 ** -25, 0x0000],
    ['just over half of it', floatOfBits(0x33000001), 0x0001],
    ['a float that is subnormal itself', 1e-40, 0x0000],
    ['zero', 0, 0x0000],
    ['minus zero', -0, 0x8000],
    ['too small, negative', -1e-40, 0x8000],
  ])('know %s', (_, value, half) => {
    expect(toHalf(value)).toBe(half)
  })
})
