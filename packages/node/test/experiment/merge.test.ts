import { describe, expect, it } from 'vitest'
import { expectClose, expectSame } from '../../../model/test/helpers/compare.ts'
import { normal } from '../../../model/test/helpers/arrays.ts'
import { average, type MergeInput } from '../../src/experiment/merge.ts'
import { distance } from '@comigs/protocol'
import { strategiesNamed } from '../../src/experiment/strategies.ts'

const SIZE = 4096
const vectors = ['a', 'b', 'c', 'd'].map((name) => normal(name, [SIZE]).values)
const input = (overrides: Partial<MergeInput> = {}): MergeInput => ({
  vectors,
  initial: new Float32Array(SIZE),
  layouts: vectors.map(() => [{ name: 'h.0.attn.c_attn.lora_A', shape: [SIZE, 1], offset: 0, size: SIZE }]),
  memory: [],
  round: 1,
  isLast: false,
  seed: 42,
  validationLoss: () => Promise.reject(new Error('not asked for')),
  ...overrides,
})
const mergeOf = (name: string) => strategiesNamed([name])[0]!.merge!

/** In double precision, by another way than `mean`. */
const exact = Float32Array.from({ length: SIZE }, (_, k) => {
  const [a, b, c, d] = vectors.map((vector) => vector[k]!) as [number, number, number, number]
  return (a + b + (c + d)) / 4
})

const averageOf = (of: readonly Float32Array[]) =>
  exact.map((_, k) => of.reduce((sum, vector) => sum + vector[k]! / of.length, 0))
const norm = (vector: Float32Array) => distance(vector, new Float32Array(vector.length))
/** From x half of the way to a, and half of the way to b. */
const halfWays = (x: Float32Array, a: Float32Array, b: Float32Array) =>
  x.map((value, k) => value + (a[k]! - value) / 2 + (b[k]! - value) / 2)

describe('average', () => {
  it('gives everyone the mean, to the last bit', async () => {
    const merged = await average(input())
    for (const vector of merged.vectors) expectSame(vector, exact)
    expect(merged.bytes).toBe(4 * SIZE)
  })
})

describe('gossip', () => {
  it.each([
    ['gossip-float32', 1e-6, 4 * SIZE],
    ['gossip-int8', 0.05, 1.1 * SIZE],
    ['gossip-int4', 0.8, 0.6 * SIZE],
  ])('%s is the average to %d, in at most %d bytes', async (name, absolute, most) => {
    const merged = await mergeOf(name)(input())
    for (const vector of merged.vectors) expectClose(vector, exact, { absolute })
    expect(merged.bytes).toBeLessThanOrEqual(most)
    expect(merged.memory).toHaveLength(4)
  })

  it('gossip-ring hears two of three others', async () => {
    const merged = await mergeOf('gossip-ring')(input())
    const [a, b, , d] = vectors as [Float32Array, Float32Array, Float32Array, Float32Array]
    const expected = a.map((value, k) => (value + b[k]! + d[k]!) / 3)
    expectClose(merged.vectors[0]!, expected, { absolute: 0.05 })
  })

  it('gossip-pairs adds, a round later, half of the way to whom one asks and to whom one answers', async () => {
    const first = await mergeOf('gossip-pairs')(input())
    for (const [user, vector] of first.vectors.entries()) expectSame(vector, vectors[user]!)
    const second = await mergeOf('gossip-pairs')(input({ round: 2, memory: first.memory! }))
    expectClose(averageOf(second.vectors), exact, { absolute: 1e-6 })
    for (const [user, vector] of second.vectors.entries()) {
      const ways = vectors.flatMap((a) => vectors.map((b) => halfWays(vectors[user]!, a, b)))
      const apart = ways.map((way) => distance(way, vector) / norm(vector))
      expect(Math.min(...apart)).toBeLessThan(0.35)
      expect(distance(vector, vectors[user]!) / norm(vector)).toBeGreaterThan(0.3)
    }
  })

  it('gossip-cells mixes fours, and averages between them', async () => {
    const twelve = [0, 10, 20].flatMap((ahead) =>
      vectors.map((vector) => vector.map((value) => value + ahead)),
    )
    let merged = await mergeOf('gossip-cells')(input({ vectors: twelve }))
    const cells = new Set(merged.vectors.map((vector) => norm(vector).toFixed(0)))
    expect(cells.size).toBe(3)
    for (let round = 2; round <= 20; round++)
      merged = await mergeOf('gossip-cells')(
        input({ round, vectors: merged.vectors, memory: merged.memory! }),
      )
    const middle = exact.map((value) => value + 10)
    for (const vector of merged.vectors) expectClose(vector, middle, { absolute: 0.05 })
  })

  it.each(['gossip-int8', 'gossip-int4', 'gossip-top-k', 'gossip-ring', 'gossip-pairs'])(
    '%s keeps the mean, and comes to agree when nothing else moves',
    async (name) => {
      let merged = await mergeOf(name)(input())
      for (let round = 2; round <= 60; round++)
        merged = await mergeOf(name)(input({ round, vectors: merged.vectors, memory: merged.memory! }))
      for (const vector of merged.vectors) expectClose(vector, exact, { absolute: 2e-3 })
    },
  )
})

describe('pcl', () => {
  it('weighs by perplexity on validation text', async () => {
    const losses = vectors.map((_, j) => Math.log(2 + j))
    const seen: number[] = []
    const merged = await mergeOf('pcl')(
      input({
        validationLoss: async (user, vector) => {
          seen.push(user)
          return losses[(vectors.indexOf(vector) + user) % 4]!
        },
      }),
    )
    expect(seen).toEqual([0, 1, 2, 3].flatMap((user) => [user, user, user, user]))
    const weights = [0, 1, 2, 3].map((j) => Math.exp(-j))
    const total = weights.reduce((sum, weight) => sum + weight)
    for (const user of [0, 1, 2, 3]) {
      const expected = exact.map((_, k) =>
        vectors.reduce((sum, vector, j) => sum + (weights[(j + user) % 4]! / total) * vector[k]!, 0),
      )
      expectClose(merged.vectors[user]!, expected, { absolute: 1e-5 })
    }
  })
})

describe('fdlora', () => {
  const arrays = [
    { name: 'h.0.attn.c_attn.lora_A', shape: [1000, 1], offset: 0, size: 1000 },
    { name: 'h.0.mlp.experts.0.c_fc.lora_A', shape: [SIZE - 1000, 1], offset: 1000, size: SIZE - 1000 },
  ]
  const layouts = vectors.map(() => arrays)

  it('is the average until the last round', async () => {
    const merged = await mergeOf('fdlora')(input({ layouts }))
    for (const vector of merged.vectors) expectSame(vector, exact)
  })

  it('then takes the fusion that validates best, of attention the mean', async () => {
    const tried: Float32Array[][] = [[], [], [], []]
    const validationLoss = async (user: number, vector: Float32Array) => {
      tried[user]!.push(vector)
      return tried[user]!.length === 4 ? 0 : 10
    }
    const merged = await mergeOf('fdlora')(input({ layouts, isLast: true, validationLoss }))
    for (const [user, vector] of merged.vectors.entries()) {
      expect(tried[user]).toHaveLength(10)
      expectSame(vector, tried[user]![3]!)
      expectSame(vector.slice(0, 1000), exact.slice(0, 1000))
      expectSame(tried[user]![0]!, exact)
    }
  })
})

describe('momentum', () => {
  it('adds half of what the mean moved by, and carries it on', async () => {
    const first = await mergeOf('comigs-momentum')(input())
    const once = exact.map((value) => 1.5 * value)
    for (const vector of first.vectors) expectClose(vector, once, { absolute: 1e-6 })
    // Nobody moves: the velocity halves and still carries on.
    const second = await mergeOf('comigs-momentum')(
      input({ round: 2, vectors: first.vectors, memory: first.memory! }),
    )
    const twice = once.map((value, k) => value + 0.5 * 0.5 * exact[k]!)
    for (const vector of second.vectors) expectClose(vector, twice, { absolute: 1e-6 })
  })
})

/** Of a layer; users with LoRAs of several ranks on it. */
const [IN, OUT] = [12, 20]

/** A user with a LoRA of this rank. */
function loraOf(name: string, rank: number) {
  const size = rank * (IN + OUT)
  const layout = [
    { name: 'h.0.attn.c_attn.lora_A', shape: [IN, rank], offset: 0, size: rank * IN },
    { name: 'h.0.attn.c_attn.lora_B', shape: [rank, OUT], offset: rank * IN, size: rank * OUT },
  ]
  return { rank, layout, vector: normal(name, [size]).values }
}

/** A B, by plain sums, of a vector with these first directions of so many. */
function productOf(vector: Float32Array, rank: number, first = rank): Float32Array {
  return Float32Array.from({ length: IN * OUT }, (_, at) => {
    const [i, j] = [Math.floor(at / OUT), at % OUT]
    let sum = 0
    for (let k = 0; k < first; k++) sum += vector[i * rank + k]! * vector[rank * IN + k * OUT + j]!
    return sum
  })
}

const squared = (values: Float32Array) => values.reduce((sum, value) => sum + value * value, 0)

describe('flexlora', () => {
  const user = loraOf
  const product = (vector: Float32Array, rank: number): Float32Array =>
    productOf(vector, rank).map((value) => (16 / Math.sqrt(rank)) * value)
  const meanOf = (products: readonly Float32Array[]) =>
    products[0]!.map((_, k) => products.reduce((sum, one) => sum + one[k]!, 0) / products.length)
  const merge = async (users: readonly ReturnType<typeof user>[]) =>
    mergeOf('flexlora')(
      input({ vectors: users.map(({ vector }) => vector), layouts: users.map(({ layout }) => layout) }),
    )

  it('gives all of the mean product to whom it fits into', async () => {
    const users = [user('a', 12), user('b', 2), user('c', 3)]
    const expected = meanOf(users.map(({ vector, rank }) => product(vector, rank)))
    const merged = await merge(users)
    expect(merged.vectors.map(({ length }) => length)).toEqual(users.map(({ vector }) => vector.length))
    expectClose(product(merged.vectors[0]!, 12), expected, { absolute: 1e-4 })
  })

  it('is exact where ranks leave room', async () => {
    const small = [user('a', 2), user('b', 2)]
    const roomy = { ...user('c', 6), vector: new Float32Array(6 * (IN + OUT)) }
    const users = [...small, roomy]
    const expected = meanOf(users.map(({ vector, rank }) => product(vector, rank)))
    const merged = await merge(users)
    expectClose(product(merged.vectors[2]!, 6), expected, { absolute: 1e-4 })
  })

  it('cuts off what is smallest: no two directions less cost less', async () => {
    const users = [user('a', 2), user('b', 2)]
    const expected = meanOf(users.map(({ vector, rank }) => product(vector, rank)))
    const merged = await merge(users)
    const kept = product(merged.vectors[0]!, 2)
    const rest = expected.map((value, k) => value - kept[k]!)
    // Singular directions are orthogonal: |mean|² = |kept|² + |rest|², and more is kept than by either user's own part.
    expectClose([squared(kept) + squared(rest)], [squared(expected)], { relative: 1e-4 })
    expectClose(merged.vectors[0]!, merged.vectors[1]!, { absolute: 1e-6 })
    for (const { vector, rank } of users) {
      const own = product(vector, rank).map((value) => value / 2)
      expect(squared(rest)).toBeLessThan(squared(expected.map((value, k) => value - own[k]!)))
    }
  })
})

describe('hetlora', () => {
  const users = [loraOf('a', 2), loraOf('b', 5), loraOf('c', 3)]
  const of = { vectors: users.map(({ vector }) => vector), layouts: users.map(({ layout }) => layout) }
  /** Element of A or B as if of rank 5. */
  const a = ({ vector, rank }: (typeof users)[number], i: number, k: number) =>
    k < rank ? vector[i * rank + k]! : 0
  const b = ({ vector, rank }: (typeof users)[number], k: number, j: number) =>
    k < rank ? vector[rank * IN + k * OUT + j]! : 0

  it('gives each its first directions of the mean, padded with zeros and weighted by norm', async () => {
    const norms = users.map(({ vector, rank }) => Math.sqrt(squared(productOf(vector, rank))))
    const total = norms.reduce((sum, norm) => sum + norm)
    const mean = (element: (user: (typeof users)[number]) => number) =>
      users.reduce((sum, user, u) => sum + (norms[u]! / total) * element(user), 0)
    const merged = await mergeOf('hetlora')(input(of))
    for (const [u, { rank, vector }] of users.entries()) {
      const expected = new Float32Array(vector.length)
      for (let k = 0; k < rank; k++) {
        for (let i = 0; i < IN; i++) expected[i * rank + k] = mean((user) => a(user, i, k))
        for (let j = 0; j < OUT; j++) expected[rank * IN + k * OUT + j] = mean((user) => b(user, k, j))
      }
      expectClose(merged.vectors[u]!, expected, { absolute: 1e-5 })
    }
    expect(merged.bytes).toBe(4 * users[1]!.vector.length)
  })

  it('begins with the first directions of the largest', () => {
    const begun = strategiesNamed(['hetlora'])[0]!.begins!(of)
    expectSame(begun[1]!, users[1]!.vector)
    for (const [u, { rank }] of users.entries())
      expectClose(productOf(begun[u]!, rank), productOf(users[1]!.vector, 5, rank), { absolute: 1e-5 })
  })

  it('gives the mean of A where nobody has learnt a B', async () => {
    const fresh = users.map(({ vector, rank }) => vector.slice().fill(0, rank * IN))
    const merged = await mergeOf('hetlora')(input({ ...of, vectors: fresh }))
    const [x, y, z] = fresh as [Float32Array, Float32Array, Float32Array]
    expect(merged.vectors[0]![0]).toBeCloseTo((x[0]! + y[0]! + z[0]!) / 3, 5)
  })
})
