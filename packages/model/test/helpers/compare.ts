import { expect } from 'vitest'

export interface Tolerance {
  /** Allowed, relative to the largest expected element: what rounding does to sums of many terms. @default 0 */
  readonly relative?: number
  /** Allowed on top. @default 0 */
  readonly absolute?: number
}

/** The largest difference and where it is. What is not a number is infinitely far from everything, itself included. */
function worst(actual: ArrayLike<number>, expected: ArrayLike<number>): { difference: number; at: number } {
  let difference = 0
  let at = 0
  for (let i = 0; i < expected.length; i++) {
    const one = Math.abs(actual[i]! - expected[i]!)
    if (one <= difference) continue
    difference = Number.isNaN(one) ? Infinity : one
    at = i
    if (difference === Infinity) break
  }
  return { difference, at }
}

function largest(values: ArrayLike<number>): number {
  let max = 0
  for (let i = 0; i < values.length; i++) max = Math.max(max, Math.abs(values[i]!))
  return max
}

/** Both finite, as long as each other, and nowhere further apart than allowed. */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { relative = 0, absolute = 0 }: Tolerance,
  what = 'values',
): void {
  expect(actual.length, `${what}: number of elements`).toBe(expected.length)
  const { difference, at } = worst(actual, expected)
  expect(difference, `${what}: element ${at} is ${actual[at]}, expected ${expected[at]}`).toSatisfy(
    (d: number) => Number.isFinite(d) && d <= absolute + relative * largest(expected),
  )
}

/** Equal bit for bit, and finite. */
export function expectSame(actual: Float32Array, expected: Float32Array, what = 'values'): void {
  expectClose(actual, expected, {}, what)
  expect(bits(actual), what).toEqual(bits(expected))
}

/** Differs somewhere; both finite. */
export function expectDifferent(actual: Float32Array, expected: Float32Array, what = 'values'): void {
  expectClose(actual, actual, {}, what)
  expect(actual.length, what).toBe(expected.length)
  expect(bits(actual).equals(bits(expected)), `${what} did not change`).toBe(false)
}

function bits(values: Float32Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength)
}
