import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { ModelConfig } from '../src/config.ts'
import { initialise, trainedLayout } from '../src/parameters.ts'
import { fillNormal, fillUniform, stream } from '../src/random.ts'
import { initialShared } from '../src/trainer.ts'
import { mixtureOf, TINY, TINY_LLAMA } from './helpers/models.ts'

/** Made by scripts/fixtures/protocol.mjs from what docs/PROTOCOL.md says of the shared vector, independently of our code. */
const GOLDEN = JSON.parse(readFileSync(new URL('fixtures/shared-vector.json', import.meta.url), 'utf8')) as {
  readonly streams: { seed: number; name: string; counter: number; outputs: number[] }[]
  readonly vectors: {
    readonly model: { readonly architecture: ModelConfig['architecture'] }
    readonly rank: number
    readonly seed: number
    readonly arrays: [string, number[]][]
    readonly first: number[]
    readonly sha256: string
  }[]
}

const first = (count: number, draw: () => number) => Array.from({ length: count }, draw)

describe('stream', () => {
  // Peers of other versions derive the same start of the shared parameters from a seed: these never change.
  it.each(GOLDEN.streams)(
    'gives for seed $seed, name "$name" and counter $counter what it always gave',
    ({ seed, name, counter, outputs }) => {
      const { int32 } = stream(seed, name, counter)
      expect(first(4, () => int32() >>> 0)).toEqual(outputs)
    },
  )

  it.each(GOLDEN.vectors)(
    'starts the shared parameters of $model.architecture where it always did',
    ({ model, rank, seed, arrays, first: beginning, sha256 }) => {
      const base = { ...(model.architecture === 'gpt2' ? TINY : TINY_LLAMA), ...model } as ModelConfig
      const layout = trainedLayout(base, { ...mixtureOf(2), rank })
      const names = layout.experts.entries
        .filter(({ offset }) => offset < layout.sharedSize)
        .map(({ name, shape }) => [name, shape])
      expect(names).toEqual(arrays)
      const shared = initialShared(layout, seed)
      expect([...shared.subarray(0, 4)]).toEqual(beginning)
      const digest = createHash('sha256').update(new Uint8Array(shared.buffer)).digest('hex')
      expect(digest).toBe(sha256)
    },
  )

  it('has the counter 0 unless told otherwise', () => {
    expect(first(3, stream(4, 'x').int32)).toEqual(first(3, stream(4, 'x', 0).int32))
  })

  it('is another one for another seed, name or counter', () => {
    const firsts = [
      stream(1, 'a'),
      stream(2, 'a'),
      stream(1, 'b'),
      stream(1, 'a', 1),
      stream(1, 'a/1'),
      stream(11, 'a'),
    ]
    expect(new Set(firsts.map(({ int32 }) => first(4, int32).join())).size).toBe(firsts.length)
  })

  it('is not drawn from by another stream', () => {
    const [one, other] = [stream(1, 'a'), stream(1, 'b')]
    const alone = first(10, stream(1, 'a').int32)
    const interleaved = first(10, () => {
      other.int32()
      return one.int32()
    })
    expect(interleaved).toEqual(alone)
  })

  it('has neighbours that do not resemble each other', () => {
    const n = 4000
    const streams = Array.from({ length: 4 }, (_, k) => first(n, stream(1, 'train', k).float))
    for (let a = 0; a < 4; a++) {
      for (let b = 0; b < a; b++) {
        const covariance = streams[a]!.reduce((sum, x, i) => sum + (x - 0.5) * (streams[b]![i]! - 0.5), 0) / n
        expect(Math.abs(covariance * 12), `${a} and ${b}`).toBeLessThan(0.07)
      }
    }
  })

  it('draws floats evenly from [0, 1), each exact in single precision', () => {
    const floats = first(20_000, stream(3, 'floats').float)
    const counts = new Array<number>(10).fill(0)
    expect(floats.filter((x) => x < 0 || x >= 1 || Math.fround(x) !== x)).toEqual([])
    for (const x of floats) counts[Math.floor(x * 10)]!++
    for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(200)
  })

  it('draws 32-bit integers of both signs', () => {
    const ints = first(1000, stream(3, 'ints').int32)
    expect(ints.every((x) => x === (x | 0))).toBe(true)
    expect(ints.some((x) => x < -(2 ** 30)) && ints.some((x) => x > 2 ** 30)).toBe(true)
  })

  it('draws below n every number there is', () => {
    const { below } = stream(3, 'below')
    const seen = new Set(first(1000, () => below(7)))
    expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5, 6])
    expect(first(10, () => below(1))).toEqual(new Array(10).fill(0))
  })

  it('draws odd and even numbers alike below more than 2^24', () => {
    const { below } = stream(3, 'below')
    const odd = first(1000, () => below(2 ** 26)).filter((x) => x % 2 === 1).length
    expect(Math.abs(odd - 500)).toBeLessThan(100)
  })
})

describe('filling', () => {
  const values = () => new Float32Array(20_000)
  const moments = (x: Float32Array) => {
    const mean = x.reduce((sum, one) => sum + one, 0) / x.length
    return { mean, deviation: Math.sqrt(x.reduce((sum, one) => sum + (one - mean) ** 2, 0) / x.length) }
  }

  it('draws normally with the deviation asked for', () => {
    const x = values()
    fillNormal(x, 0.5, stream(1, 'normal'))
    const { mean, deviation } = moments(x)
    expect(Math.abs(mean)).toBeLessThan(0.02)
    expect(Math.abs(deviation - 0.5)).toBeLessThan(0.01)
    const within = x.filter((one) => Math.abs(one) < 0.5).length / x.length
    expect(Math.abs(within - 0.6827)).toBeLessThan(0.015)
    expect(x.every(Number.isFinite)).toBe(true)
  })

  it('draws uniformly within the bound', () => {
    const x = values()
    fillUniform(x, 0.25, stream(1, 'uniform'))
    const { mean, deviation } = moments(x)
    expect(Math.abs(mean)).toBeLessThan(0.01)
    expect(Math.abs(deviation - 0.25 / Math.sqrt(3))).toBeLessThan(0.005)
    expect(x.every((one) => Math.abs(one) <= 0.25)).toBe(true)
  })
})

describe('initialise', () => {
  it('changes no array when experts are added', () => {
    const arrays = (experts: number) => {
      const { experts: layout } = trainedLayout(TINY, mixtureOf(experts))
      const flat = initialise(layout, 3)
      return new Map(
        layout.entries.map(({ name, offset, size }) => [name, flat.slice(offset, offset + size)]),
      )
    }
    const [few, many] = [arrays(2), arrays(5)]
    expect(many.size).toBeGreaterThan(few.size)
    for (const [name, x] of few) expect(many.get(name), name).toEqual(x)
  })
})
