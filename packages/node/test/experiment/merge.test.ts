import { describe, expect, it } from 'vitest'
import { expectClose, expectSame } from '../../../model/test/helpers/compare.ts'
import { normal } from '../../../model/test/helpers/arrays.ts'
import { average, type MergeInput } from '../../src/experiment/merge.ts'
import { strategiesNamed } from '../../src/experiment/strategies.ts'

const SIZE = 4096
const vectors = ['a', 'b', 'c', 'd'].map((name) => normal(name, [SIZE]).values)
const input = (overrides: Partial<MergeInput> = {}): MergeInput => ({
  vectors,
  initial: new Float32Array(SIZE),
  entries: [{ name: 'h.0.attn.c_attn.lora_A', offset: 0, size: SIZE }],
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

  it.each(['gossip-int8', 'gossip-int4', 'gossip-top-k'])(
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
  const entries = [
    { name: 'h.0.attn.c_attn.lora_A', offset: 0, size: 1000 },
    { name: 'h.0.mlp.experts.0.c_fc.lora_A', offset: 1000, size: SIZE - 1000 },
  ]

  it('is the average until the last round', async () => {
    const merged = await mergeOf('fdlora')(input({ entries }))
    for (const vector of merged.vectors) expectSame(vector, exact)
  })

  it('then takes the fusion that validates best, of attention the mean', async () => {
    const tried: Float32Array[][] = [[], [], [], []]
    const validationLoss = async (user: number, vector: Float32Array) => {
      tried[user]!.push(vector)
      return tried[user]!.length === 4 ? 0 : 10
    }
    const merged = await mergeOf('fdlora')(input({ entries, isLast: true, validationLoss }))
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
