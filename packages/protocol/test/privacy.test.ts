import { describe, expect, it } from 'vitest'
import { distance } from '../src/mixing.ts'
import { epsilonSpent, privatised } from '../src/privacy.ts'
import { randomVector, seeded } from './support/random.ts'

const LENGTH = 100_000
const START = randomVector(LENGTH, 1)
const zeros = new Float32Array(LENGTH)

const moved = (by: number) =>
  START.map((value, k) => value + (by * (k % 2 === 0 ? 1 : -1)) / Math.sqrt(LENGTH))
const difference = (a: Float32Array) => a.map((value, k) => value - START[k]!)

describe('privatised', () => {
  const quiet = { clip: 2, noise: 1e-12 }

  it('leaves a small update as it is, but for the noise', () => {
    expect(distance(privatised(START, moved(1.5), quiet, seeded(1)), moved(1.5))).toBeLessThan(1e-4)
  })

  it('shortens a large one to the clip, in its direction', () => {
    const out = difference(privatised(START, moved(50), quiet, seeded(1)))
    expect(distance(out, zeros)).toBeCloseTo(2, 3)
    expect(distance(out, difference(moved(2)))).toBeLessThan(1e-3)
  })

  it.each([NaN, Infinity])('takes an update with %d in it for none', (bad) => {
    const trained = moved(1)
    trained[7] = bad
    expect(distance(privatised(START, trained, quiet, seeded(1)), START)).toBeLessThan(1e-4)
  })

  it('adds noise with the mean, variance and tails of a normal one of noise times clip', () => {
    const noise = difference(privatised(START, START, { clip: 2, noise: 1.5 }, seeded(2)))
    const mean = noise.reduce((sum, value) => sum + value, 0) / LENGTH
    const variance = noise.reduce((sum, value) => sum + (value - mean) ** 2, 0) / LENGTH
    // Deviations of the estimates: 3/sqrt(n) of the mean, sqrt(2/n) of the variance. Five of them.
    expect(Math.abs(mean)).toBeLessThan((5 * 3) / Math.sqrt(LENGTH))
    expect(Math.abs(variance / 9 - 1)).toBeLessThan(5 * Math.sqrt(2 / LENGTH))
    const beyond = (deviations: number) =>
      noise.filter((value) => Math.abs(value) > 3 * deviations).length / LENGTH
    expect(beyond(1)).toBeCloseTo(0.3173, 2)
    expect(beyond(2)).toBeCloseTo(0.0455, 2)
    expect(beyond(3)).toBeCloseTo(0.0027, 3)
  })

  it('draws each value by itself: neighbours are not correlated', () => {
    const noise = difference(privatised(START, START, { clip: 1, noise: 1 }, seeded(3)))
    for (const lag of [1, 2, 128]) {
      let sum = 0
      for (let k = lag; k < LENGTH; k++) sum += noise[k]! * noise[k - lag]!
      expect(Math.abs(sum / LENGTH)).toBeLessThan(5 / Math.sqrt(LENGTH))
    }
  })

  it('changes neither of its arguments', () => {
    const [start, trained] = [START.slice(), moved(9)]
    privatised(start, trained, { clip: 1, noise: 1 }, seeded(1))
    expect([start, trained]).toEqual([START, moved(9)])
  })
})

/** Abramowitz and Stegun 7.1.26 is too coarse for 1e-5; this continued fraction is exact to 1e-12 beyond 2. */
function tail(x: number): number {
  if (x < 0) return 1 - tail(-x)
  if (x < 3) {
    // Simpson on the density.
    const steps = 3000
    const h = x / steps
    let sum = 0
    for (let i = 0; i <= steps; i++) {
      const weight = i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2
      sum += weight * Math.exp((-i * h * i * h) / 2)
    }
    return 0.5 - (sum * h) / 3 / Math.sqrt(2 * Math.PI)
  }
  let fraction = 0
  for (let k = 60; k > 0; k--) fraction = k / (x + fraction)
  return Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI) / (x + fraction)
}

/** The exact delta of a Gaussian mechanism (Balle and Wang 2018, theorem 8); rounds compose to one with less noise. */
function exactDelta(epsilon: number, releases: number, noise: number): number {
  const sigma = noise / Math.sqrt(releases)
  return (
    tail(-(1 / (2 * sigma) - epsilon * sigma)) - Math.exp(epsilon) * tail(epsilon * sigma + 1 / (2 * sigma))
  )
}

function exactEpsilon(releases: number, noise: number, delta: number): number {
  let [low, high] = [0, 500]
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2
    if (exactDelta(middle, releases, noise) > delta) low = middle
    else high = middle
  }
  return high
}

describe('epsilonSpent', () => {
  it.each([
    [1, 1],
    [1, 5],
    [10, 4],
    [24, 2],
    [100, 10],
    [1000, 20],
  ])('after %d rounds with noise %d is above the exact one, and not far', (releases, noise) => {
    const exact = exactEpsilon(releases, noise, 1e-5)
    const spent = epsilonSpent(releases, noise, 1e-5)
    expect(spent).toBeGreaterThan(exact)
    expect(spent).toBeLessThan(1.15 * exact)
  })

  it('is 0 before the first round, grows with each, and falls with noise', () => {
    expect(epsilonSpent(0, 1)).toBe(0)
    expect(epsilonSpent(2, 1)).toBeGreaterThan(epsilonSpent(1, 1))
    expect(epsilonSpent(1, 2)).toBeLessThan(epsilonSpent(1, 1))
  })

  it('depends on rounds and noise only by rounds over noise squared', () => {
    expect(epsilonSpent(16, 4)).toBeCloseTo(epsilonSpent(1, 1), 9)
  })
})
