import { describe, expect, it } from 'vitest'
import { stream } from '../src/random.ts'
import { argmax, sample, type SampleOptions } from '../src/sample.ts'
import { fc } from './helpers/properties.ts'

const logits = Float32Array.of(0, Math.log(2), -Infinity, Math.log(5))

function shares(options: SampleOptions, from = logits): number[] {
  const random = stream(9, 'sample')
  const counts = new Array<number>(from.length).fill(0)
  for (let i = 0; i < 8000; i++) counts[sample(from, options, random)]!++
  return counts.map((count) => count / 8000)
}

function expectShares(actual: readonly number[], weights: readonly number[]): void {
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  for (const [i, share] of actual.entries()) expect(Math.abs(share - weights[i]! / total)).toBeLessThan(0.02)
}

describe('sample', () => {
  it('draws in proportion to softmax', () => {
    expectShares(shares({ temperature: 1 }), [1, 2, 0, 5])
  })

  it('draws more evenly when hot, and the best almost always when cold', () => {
    expectShares(shares({ temperature: 4 }), [1, 2 ** 0.25, 0, 5 ** 0.25])
    expect(shares({ temperature: 0.1 })[3]).toBeGreaterThan(0.99)
  })

  it('takes the first of the best at temperature 0', () => {
    expect(sample(Float32Array.of(1, 3, 3, 2), { temperature: 0 }, stream(1, 'x'))).toBe(1)
  })

  it('stands logits of any size', () => {
    const random = stream(1, 'x')
    expect(sample(Float32Array.of(1e30, -1e30), { temperature: 1 }, random)).toBe(0)
    expect(sample(Float32Array.of(-1e30, -1e30 / 2), { temperature: 1e-3, topP: 0.5 }, random)).toBe(1)
  })

  it('draws in proportion among the k likeliest', () => {
    expectShares(shares({ temperature: 1, topK: 2 }), [0, 2, 0, 5])
    expectShares(shares({ temperature: 1, topK: 3 }), [1, 2, 0, 5])
  })

  it('draws in proportion within the nucleus', () => {
    expectShares(shares({ temperature: 1, topP: 5 / 8 }), [0, 0, 0, 5])
    expectShares(shares({ temperature: 1, topP: 0.63 }), [0, 2, 0, 5])
    expectShares(shares({ temperature: 1, topP: 0.95 }), [1, 2, 0, 5])
  })

  it('takes the nucleus of what top-k has left', () => {
    // Of 2 and 5 alone, 5 has 0.71 of the probability; of all, only 0.63.
    expectShares(shares({ temperature: 1, topK: 2, topP: 0.7 }), [0, 0, 0, 5])
  })

  it('breaks ties at the edge by the lower index', () => {
    expectShares(shares({ temperature: 1, topK: 2 }, Float32Array.of(0, 1, 0, 0)), [1, Math.E, 0, 0])
  })
})

const anyLogits = fc
  .array(fc.float({ min: -30, max: 30, noNaN: true }), { minLength: 1, maxLength: 60 })
  .map((values) => Float32Array.from(values))
const seeds = fc.integer({ min: 0, max: 1000 })
const temperatures = fc.constantFrom(0.2, 0.7, 1, 2.5)

/** Everything in order of probability, by the definition. */
function ranked(logits: Float32Array, temperature: number): { i: number; p: number }[] {
  const best = logits[argmax(logits)]!
  const weights = logits.map((logit) => Math.exp((logit - best) / temperature))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return [...weights].map((weight, i) => ({ i, p: weight / total })).sort((a, b) => b.p - a.p || a.i - b.i)
}

describe('every draw', () => {
  it('is the same from the same seed', () => {
    fc.assert(
      fc.property(anyLogits, seeds, temperatures, (logits, seed, temperature) => {
        const options = { temperature, topK: 7, topP: 0.9 }
        const draw = () => sample(logits, options, stream(seed, 'x'))
        expect(draw()).toBe(draw())
      }),
    )
  })

  it('is among the k likeliest', () => {
    fc.assert(
      fc.property(
        anyLogits,
        seeds,
        temperatures,
        fc.integer({ min: 1, max: 70 }),
        (logits, seed, temperature, topK) => {
          const drawn = sample(logits, { temperature, topK }, stream(seed, 'x'))
          const best = ranked(logits, temperature).slice(0, topK)
          expect(best.map(({ i }) => i)).toContain(drawn)
        },
      ),
    )
  })

  it('is in the nucleus', () => {
    fc.assert(
      fc.property(
        anyLogits,
        seeds,
        temperatures,
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        (logits, seed, temperature, topP) => {
          const drawn = sample(logits, { temperature, topP }, stream(seed, 'x'))
          const order = ranked(logits, temperature)
          const before = order
            .slice(
              0,
              order.findIndex(({ i }) => i === drawn),
            )
            .reduce((sum, { p }) => sum + p, 0)
          expect(before).toBeLessThan(topP + 1e-6)
        },
      ),
    )
  })

  it('is what it would be without limits that leave everything', () => {
    fc.assert(
      fc.property(anyLogits, seeds, temperatures, (logits, seed, temperature) => {
        const limits = { temperature, topK: logits.length, topP: 1 }
        expect(sample(logits, limits, stream(seed, 'x'))).toBe(
          sample(logits, { temperature }, stream(seed, 'x')),
        )
      }),
    )
  })

  it('is the best when only one may be drawn', () => {
    fc.assert(
      fc.property(anyLogits, seeds, temperatures, (logits, seed, temperature) => {
        expect(sample(logits, { temperature, topK: 1 }, stream(seed, 'x'))).toBe(
          ranked(logits, temperature)[0]!.i,
        )
      }),
    )
  })
})
