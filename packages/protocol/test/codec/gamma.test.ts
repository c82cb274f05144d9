import { describe, expect, it } from 'vitest'
import { type CodecChoice, codecOf } from '../../src/codec/codec.ts'
import { safeGamma } from '../../src/codec/gamma.ts'
import { distance, edgeWeight, mean, mixingIncrement } from '../../src/mixing.ts'
import { randomVector, seeded } from '../support/random.ts'

const LENGTH = 200
const ROUNDS = 150

const vectors = (peers: number, seed: number) =>
  // Cubes: a few large values and many small ones, the harder case.
  Array.from({ length: peers }, (_, i) => randomVector(LENGTH, seed + i).map((value) => value ** 3))

const spread = (x: readonly Float32Array[]): number => {
  const centre = mean(x)
  return x.reduce((sum, vector) => sum + distance(vector, centre) ** 2, 0)
}

const add = (x: Float32Array, increment: Float32Array, rate = 1) => {
  for (let k = 0; k < x.length; k++) x[k]! += rate * increment[k]!
}

/**
 * CHOCO-SGD without a network: peers that start apart and agree, or that pull towards targets of their own by steps that
 * become smaller.
 * @returns squared distance from the mean at the end, in units of that of the start or the targets
 */
function disagreement(choice: CodecChoice, gamma: number, peers: number, task: 'agree' | 'learn'): number {
  const codec = codecOf(choice)
  const random = seeded(5)
  const targets = vectors(peers, 100)
  const x = targets.map((target) => (task === 'agree' ? target.slice() : new Float32Array(LENGTH)))
  const y = targets.map(() => new Float32Array(LENGTH))
  const weight = edgeWeight(peers - 1, peers - 1)
  for (let round = 0; round < ROUNDS; round++) {
    if (task === 'learn') {
      const rate = 0.1 * 0.9 ** Math.max(0, round - ROUNDS / 2)
      const noise = vectors(peers, 1000 * round)
      x.forEach((own, i) => {
        add(
          own,
          targets[i]!.map((value, k) => value - own[k]! + 0.5 * noise[i]![k]!),
          rate,
        )
      })
    }
    x.forEach((own, i) => {
      const delta = own.map((value, k) => value - y[i]![k]!)
      add(y[i]!, codec.decode(codec.encode(delta, random), LENGTH))
    })
    const increments = y.map((own) => {
      const others = y.filter((copy) => copy !== own).map((copy) => ({ copy, weight }))
      return mixingIncrement(own, others, gamma)
    })
    x.forEach((own, i) => {
      add(own, increments[i]!)
    })
    if (!(spread(x) < 1e12)) return Infinity
  }
  return spread(x) / spread(targets)
}

const CHOICES: readonly CodecChoice[] = [
  { values: 'float32' },
  { values: 'float16' },
  { values: 'int8' },
  { values: 'int4' },
  { values: 'int8', topK: 0.5 },
  { values: 'int8', topK: 0.2 },
  { values: 'int4', topK: 0.2 },
  { values: 'int8', topK: 0.1 },
  { values: 'int4', topK: 0.1 },
  { values: 'float32', topK: 0.05 },
  { values: 'int4', topK: 0.05 },
]

describe.each(CHOICES.map((choice) => [codecOf(choice).name, choice] as const))(
  'gamma with %s',
  (_, choice) => {
    const gamma = safeGamma(choice)

    it('brings peers to agree, and to learn together', () => {
      expect(disagreement(choice, gamma, 8, 'agree')).toBeLessThan(1e-4)
      expect(disagreement(choice, gamma, 4, 'learn')).toBeLessThan(1e-2)
    })

    it('is not too careful: with twice as much peers end further apart', () => {
      const ends = (factor: number) => disagreement(choice, factor * gamma, 8, 'agree')
      expect(ends(2)).toBeGreaterThan(100 * ends(1))
    })
  },
)

describe('safeGamma', () => {
  it('is 1 for dense codecs and for large shares, and follows small ones', () => {
    const of = (topK: number) => safeGamma({ values: 'int8', topK })
    expect(safeGamma({ values: 'int4' })).toBe(1)
    expect([0.6, 0.5, 0.25, 0.125].map(of)).toEqual([1, 0.875, 0.4375, 0.21875])
  })
})
