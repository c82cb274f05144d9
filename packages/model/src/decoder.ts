import { keyShape, type MixtureConfig, type ModelConfig } from './config.ts'
import type { Engine, Program } from './engine/engine.ts'
import type { HostArray } from './engine/graph.ts'
import { rows } from './evaluate.ts'
import { MASKED } from './ops/attention.ts'
import { trainedLayout } from './parameters.ts'
import { decodeStep, pastInput } from './steps.ts'

/** What the model says after a text. */
export interface Next {
  /** `[V]` */
  readonly logits: Float32Array
  /** Router scores of the text's last token, `[layers][n]`; empty without routers. */
  readonly routerScores: readonly (readonly number[])[]
}

/** A text that the model reads once and remembers. */
export interface Reading {
  /** Reads on, at least one token; one call at a time. */
  append(tokens: Iterable<number>): Promise<Next>
}

/**
 * Runs a model token by token with a key-value cache, so that a token costs the same however long the text before it is,
 * but for attention.
 */
export interface Decoder {
  /** Any number of texts may be read side by side. */
  open(): Reading
  dispose(): void
}

/**
 * Tokens that one run takes: one when writing, many when reading a prompt (the rest of the last run is padding). Each size
 * is a program of its own, made when it is first needed. Chosen by measurement (bench/generate).
 */
const CHUNKS = [1, 8, 32, 128]
/** Rows of the smallest cache; sizes double from there, so that a short text attends to little. */
const SMALLEST_CACHE = 128

/** @param engine - holds the base and, unless there are no experts, the trained arrays under the names of `steps.ts` */
export function createDecoder(engine: Engine, model: ModelConfig, mixture: MixtureConfig): Decoder {
  const layout = trainedLayout(model, mixture)
  const programs = new Map<string, Promise<Program>>()
  const program = (tokens: number, past: number): Promise<Program> => {
    const key = `${tokens}/${past}`
    let compiled = programs.get(key)
    if (compiled === undefined) {
      compiled = engine.compile(decodeStep({ model, mixture, layout, tokens, past }))
      programs.set(key, compiled)
    }
    return compiled
  }

  return {
    open() {
      const ids: number[] = []
      let begin = 0 // the first token that is still remembered
      let cache = createCache(model, Math.min(SMALLEST_CACHE, model.positions))

      /** Runs the next few tokens and remembers them. */
      const read = async (): Promise<Next> => {
        const { filled } = cache
        const left = ids.length - begin - filled
        const size = CHUNKS.find((chunk) => chunk >= left) ?? CHUNKS.at(-1)!
        const count = Math.min(size, left)
        while (cache.size < filled + count) cache = grown(cache, model)
        const tokens = new Int32Array(size)
        const positions = new Int32Array(size)
        for (let i = 0; i < count; i++) {
          tokens[i] = ids[begin + filled + i]!
          positions[i] = filled + i
        }
        const last = Int32Array.of(count - 1)
        const compiled = await program(size, cache.size)
        const { logits, present, scores } = await compiled.run({ tokens, positions, last, ...cache.inputs })
        cache.remember(present!, size, count)
        return { logits: logits!, routerScores: rows([...(scores ?? [])], mixture.experts) }
      }

      return {
        async append(tokens) {
          for (const id of tokens) ids.push(id)
          const from = windowStart(ids.length, model.positions)
          if (from > begin) cache.forget()
          begin = Math.max(begin, from)
          let next = await read()
          while (begin + cache.filled < ids.length) next = await read()
          return next
        },
      }
    },

    dispose() {
      for (const compiled of programs.values()) void compiled.then((one) => one.dispose())
    },
  }
}

/**
 * The first token that a model sees of a text. When a text outgrows the positions that the model has, it forgets the older
 * half and reads the newer half again as if the text began there: a fixed cost every positions / 2 tokens, where a window
 * that slides with each token would make every token cost a whole window. Depends on the length alone, so that a text
 * continues the same whether it was read or written.
 */
export function windowStart(length: number, positions: number): number {
  const half = Math.ceil(positions / 2)
  return length <= positions ? 0 : Math.ceil((length - positions) / half) * half
}

interface Cache {
  /** Rows there are, P. */
  readonly size: number
  /** Rows that hold a token. */
  readonly filled: number
  /** By layer, keys then values, `[K, P, D]` each. */
  readonly arrays: readonly Float32Array[]
  /** As a decode step wants them. */
  readonly inputs: Readonly<Record<string, HostArray>>
  /** Takes over the first `count` of S new tokens. @param present - `[layers, 2, K, S, D]` */
  remember(present: Float32Array, tokens: number, count: number): void
  forget(): void
}

function createCache(model: ModelConfig, size: number): Cache {
  const { layers } = model
  const { heads, width } = keyShape(model)
  const arrays = Array.from({ length: 2 * layers }, () => new Float32Array(heads * size * width))
  const mask = new Float32Array(size).fill(MASKED)
  const names = Array.from({ length: layers }, (_, i) => [
    pastInput('keys', i),
    pastInput('values', i),
  ]).flat()
  let filled = 0
  return {
    size,
    get filled() {
      return filled
    },
    arrays,
    inputs: { mask, ...Object.fromEntries(names.map((name, i) => [name, arrays[i]!])) },
    remember(present, tokens, count) {
      for (let i = 0; i < 2 * layers * heads; i++) {
        const made = present.subarray(i * tokens * width, (i * tokens + count) * width)
        arrays[Math.floor(i / heads)]!.set(made, ((i % heads) * size + filled) * width)
      }
      mask.fill(0, filled, filled + count)
      filled += count
    },
    forget() {
      mask.fill(MASKED)
      filled = 0
    },
  }
}

/** The same in twice the rows, or as many as there are positions. */
function grown(cache: Cache, model: ModelConfig): Cache {
  const { size, filled, arrays } = cache
  const larger = createCache(model, Math.min(2 * size, model.positions))
  // What was remembered, as if it were new: [layers, 2, K, P, D].
  const present = new Float32Array(arrays.length * arrays[0]!.length)
  arrays.forEach((array, i) => present.set(array, i * array.length))
  larger.remember(present, size, filled)
  return larger
}
