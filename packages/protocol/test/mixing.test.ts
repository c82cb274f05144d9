import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ageDiscount,
  clipFactors,
  consensusDistance,
  distance,
  edgeWeight,
  isOpposed,
  mean,
  mixingIncrement,
} from '../src/mixing.ts'
import { holds } from './support/check.ts'
import { randomVector, seeded } from './support/random.ts'

const LENGTH = 20

/** A graph as adjacency lists; `i` and `j` are linked when a coin says so, the same for both. */
function randomGraph(peers: number, seed: number, density: number): number[][] {
  const random = seeded(seed)
  const linked = new Set<string>()
  for (let i = 0; i < peers; i++)
    for (let j = i + 1; j < peers; j++) if (random() < density) linked.add(`${i} ${j}`)
  const ids = Array.from({ length: peers }, (_, i) => i)
  return ids.map((i) => ids.filter((j) => linked.has(`${i} ${j}`) || linked.has(`${j} ${i}`)))
}

const ring = (peers: number): number[][] =>
  Array.from({ length: peers }, (_, i) => [(i + peers - 1) % peers, (i + 1) % peers])

/** What every peer adds when everyone's copies are exact. */
function increments(graph: readonly number[][], copies: readonly Float32Array[], gamma = 1): Float32Array[] {
  return graph.map((neighbours, i) =>
    mixingIncrement(
      copies[i]!,
      neighbours.map((j) => ({ copy: copies[j]!, weight: edgeWeight(neighbours.length, graph[j]!.length) })),
      gamma,
    ),
  )
}

const vectorsOf = (peers: number, seed: number) =>
  Array.from({ length: peers }, (_, i) => randomVector(LENGTH, 1000 * seed + i))

const sum = (a: Float32Array, b: Float32Array) => a.map((value, k) => value + b[k]!)

const spread = (vectors: readonly Float32Array[]) => {
  const centre = mean(vectors)
  return Math.sqrt(vectors.reduce((total, vector) => total + distance(vector, centre) ** 2, 0))
}

describe('edgeWeight', () => {
  it('is the same from both ends', () => {
    holds([fc.nat(100), fc.nat(100)], (a, b) => {
      expect(edgeWeight(a, b)).toBe(edgeWeight(b, a))
    })
  })

  it('is 1/N in a full mesh of N', () => {
    for (let n = 2; n < 20; n++) expect(edgeWeight(n - 1, n - 1)).toBe(1 / n)
  })

  it('is ruled by the busier end, and leaves every peer something of its own', () => {
    expect(edgeWeight(2, 9)).toBe(0.1)
    holds([fc.array(fc.nat(50), { minLength: 1, maxLength: 50 })], (theirs) => {
      const given = theirs.reduce((total, degree) => total + edgeWeight(theirs.length, degree), 0)
      expect(given).toBeLessThan(1)
    })
  })
})

describe('ageDiscount', () => {
  it('is 1 while a copy is fresh, and halves with each round after that', () => {
    expect([0, 1, 2, 3, 7].map((age) => ageDiscount(age, 1))).toEqual([1, 1, 0.5, 0.25, 1 / 64])
  })

  it('is 1 for a copy from the future', () => {
    expect(ageDiscount(-3, 1)).toBe(1)
  })
})

describe('mixingIncrement', () => {
  it('does not depend on the order of the neighbours, to rounding', () => {
    holds([fc.nat(1000), fc.integer({ min: 1, max: 12 })], (seed, count) => {
      const [own, ...others] = vectorsOf(count + 1, seed)
      const random = seeded(seed)
      const neighbours = others.map((copy) => ({ copy, weight: random() / count }))
      const shuffled = [...neighbours].sort(() => random() - 0.5)
      const [a, b] = [mixingIncrement(own!, neighbours, 1), mixingIncrement(own!, shuffled, 1)]
      expect(distance(a, b)).toBeLessThanOrEqual(1e-6)
    })
  })

  it('keeps the sum over all peers, on any graph', () => {
    holds(
      [fc.integer({ min: 2, max: 16 }), fc.nat(1000), fc.double({ min: 0, max: 1, noNaN: true })],
      (n, seed, d) => {
        const added = increments(randomGraph(n, seed, d), vectorsOf(n, seed)).reduce(sum)
        for (const value of added) expect(Math.abs(value)).toBeLessThan(1e-5)
      },
    )
  })

  it('brings a full mesh of exact copies to the mean in one step', () => {
    for (const n of [2, 3, 8]) {
      const copies = vectorsOf(n, n)
      const graph = copies.map((_, i) => copies.map((__, j) => j).filter((j) => j !== i))
      const mixed = increments(graph, copies).map((increment, i) => sum(copies[i]!, increment))
      for (const x of mixed) expect(distance(x, mean(copies))).toBeLessThan(1e-6)
    }
  })

  it('contracts on a ring by at least its spectral gap in each step', () => {
    const n = 8
    let x = vectorsOf(n, 3)
    const centre = mean(x)
    // Weights 1/3: the second eigenvalue of a ring of n.
    const factor = (1 + 2 * Math.cos((2 * Math.PI) / n)) / 3
    for (let step = 0; step < 20; step++) {
      const before = spread(x)
      const added = increments(ring(n), x)
      x = x.map((vector, i) => sum(vector, added[i]!))
      expect(spread(x)).toBeLessThanOrEqual(before * factor + 1e-6)
    }
    expect(distance(mean(x), centre)).toBeLessThan(1e-5)
  })

  it('scales with gamma', () => {
    const copies = vectorsOf(3, 4)
    const whole = increments(ring(3), copies)[0]!
    const half = increments(ring(3), copies, 0.5)[0]!
    expect(
      distance(
        half,
        whole.map((value) => value / 2),
      ),
    ).toBeLessThan(1e-7)
  })

  it('is zero without neighbours, and where all agree', () => {
    const own = randomVector(LENGTH, 1)
    expect(mixingIncrement(own, [], 1)).toEqual(new Float32Array(LENGTH))
    expect(mixingIncrement(own, [{ copy: own.slice(), weight: 0.5 }], 1)).toEqual(new Float32Array(LENGTH))
  })

  it('changes no copy', () => {
    const copies = vectorsOf(3, 5)
    const before = copies.map((copy) => copy.slice())
    increments(ring(3), copies)
    expect(copies).toEqual(before)
  })
})

describe('clipFactors', () => {
  it('shortens what is further away than twice the median, to just that', () => {
    expect(clipFactors([1, 1.5, 2, 100, 3], 1)).toEqual([1, 1, 1, 0.04, 1])
    expect(clipFactors([1, 3, 5, 16], 1)).toEqual([1, 1, 1, 0.5])
  })

  it('shortens what is further away than ten times our own length, even if all others are', () => {
    expect(clipFactors([1e30], 1)).toEqual([1e-29])
    expect(clipFactors([2, 40], 2)).toEqual([1, 0.5])
    expect(clipFactors([0, 1e30, 1e30], 0)).toEqual([1, 0, 0])
  })

  it('never clips one or two neighbours that are nearer, nor equals', () => {
    holds(
      [fc.double({ min: 0, max: 1e30, noNaN: true }), fc.double({ min: 0, max: 1e30, noNaN: true })],
      (a, b) => {
        expect(clipFactors([a], 1e30)).toEqual([1])
        expect(clipFactors([a, b], 1e30)).toEqual([1, 1])
        expect(clipFactors([a, a, a], 1e30)).toEqual([1, 1, 1])
      },
    )
    expect(clipFactors([], 1)).toEqual([])
  })

  it('leaves nobody further away than twice the median of the honest, while those are the majority', () => {
    const honest = fc.array(fc.double({ min: 1, max: 3, noNaN: true }), { minLength: 3, maxLength: 9 })
    holds([honest, fc.double({ min: 0, max: 1e30, noNaN: true })], (distances, far) => {
      const all = [...distances, ...new Array<number>(Math.floor((distances.length - 1) / 2)).fill(far)]
      clipFactors(all, 1e30).forEach((factor, i) => {
        expect(factor * all[i]!).toBeLessThanOrEqual(6 * (1 + 1e-12))
      })
    })
  })
})

describe('mean', () => {
  it('is the element-wise mean', () => {
    expect(mean([Float32Array.of(1, 2), Float32Array.of(3, -2), Float32Array.of(5, 3)])).toEqual(
      Float32Array.of(3, 1),
    )
  })

  it('is exact where the sum of floats would not be', () => {
    expect(mean([Float32Array.of(1e8), Float32Array.of(1), Float32Array.of(-1e8)])[0]).toBeCloseTo(1 / 3, 6)
  })
})

describe('distance', () => {
  it('is Euclidean', () => {
    expect(distance(Float32Array.of(1, 1), Float32Array.of(4, 5))).toBe(5)
  })
})

describe('consensusDistance', () => {
  const initial = Float32Array.of(0, 0)
  const copies = [Float32Array.of(4, 0), Float32Array.of(4, 4)]

  it('is |x - m| / |m - init|', () => {
    // m = (4, 2)
    expect(consensusDistance(Float32Array.of(4, 4), copies, initial)).toBeCloseTo(2 / Math.sqrt(20), 6)
    expect(consensusDistance(Float32Array.of(4, 2), copies, initial)).toBe(0)
  })

  it('is undefined while the swarm has learnt nothing', () => {
    expect(consensusDistance(Float32Array.of(1, 1), [initial, initial.slice()], initial)).toBeUndefined()
    expect(
      consensusDistance(Float32Array.of(1, 1), [Float32Array.of(1, 2), Float32Array.of(-1, -2)], initial),
    ).toBe(undefined)
  })

  it('does not depend on the unit of length', () => {
    const scaled = (v: Float32Array) => v.map((value) => 8 * value)
    expect(consensusDistance(scaled(Float32Array.of(4, 4)), copies.map(scaled), initial)).toBe(
      consensusDistance(Float32Array.of(4, 4), copies, initial),
    )
  })
})

describe('who has learnt against us', () => {
  const learnt = randomVector(LENGTH, 2)
  const times = (share: number) => learnt.map((value) => share * value)

  it.each([-0.01, -1, -1000])('is who went the other way, by %d times as far', (share) => {
    expect(isOpposed(learnt, times(share))).toBe(true)
    expect(isOpposed(times(share), learnt)).toBe(true)
  })

  it.each([0.01, 1, 1000])('is not who went our way, by %d times as far', (share) => {
    expect(isOpposed(learnt, times(share))).toBe(false)
  })

  it('is not who learnt something else, or nothing', () => {
    const [even, odd] = [0, 1].map((rest) => learnt.map((value, k) => (k % 2 === rest ? value : 0)))
    expect(isOpposed(even!, odd!)).toBe(false)
    expect(isOpposed(learnt, times(0))).toBe(false)
    expect(isOpposed(times(0), times(0))).toBe(false)
  })
})
