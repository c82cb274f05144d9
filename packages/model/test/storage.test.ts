import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import type { ModelConfig } from '../src/config.ts'
import type { EngineName } from '../src/engine/engine.ts'
import { restore, type Storage, store } from '../src/engine/storage.ts'
import { gemm } from '../src/ops/gemm.ts'
import { headCrossEntropy } from '../src/ops/head-cross-entropy.ts'
import { embedding } from '../src/ops/embedding.ts'
import { baseLayout, namedArrays } from '../src/parameters.ts'
import { ADAMW, EXPERTS, expertStep, moments, NO_EXPERTS } from '../src/steps.ts'
import { type BaseDtype, placeBase } from '../src/trainer.ts'
import { floats, normal, randomInts } from './helpers/arrays.ts'
import { expectClose, expectSame } from './helpers/compare.ts'
import { compiled, freshEngine } from './helpers/engines.ts'
import { baseOf, GPT2_SMALL, mixtureOf, shapeOf, TINY, TINY_LLAMA, tinyBase } from './helpers/models.ts'
import { nextTokenStep } from './helpers/next-token.ts'
import { fc } from './helpers/properties.ts'
import { refusal } from './helpers/refusals.ts'

const STORAGES: readonly Storage[] = [
  { type: 'float16' },
  { type: 'int8', axis: 0 },
  { type: 'int8', axis: 1 },
]

const roundTrip = (values: Float32Array, columns: number, storage: Storage) =>
  restore(store(values, columns, storage)!, columns)

describe('storage', () => {
  const matrices = fc
    .tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 }))
    .chain(([rows, columns]) =>
      fc.tuple(
        fc.constant(columns),
        fc.array(fc.float({ noNaN: true, min: -1000, max: 1000 }), {
          minLength: rows * columns,
          maxLength: rows * columns,
        }),
      ),
    )

  it('in float16 keeps every float16 as it is', () => {
    const all = Float32Array.from([0, -0, 1, 2 ** -24, -(2 ** -14), 65504, 1 + 2 ** -10, -0.333251953125])
    expectSame(roundTrip(all, 4, { type: 'float16' }), all)
  })

  it('in float16 is off by at most half a unit in the last place', () => {
    fc.assert(
      fc.property(matrices, ([columns, list]) => {
        const values = Float32Array.from(list)
        const kept = roundTrip(values, columns, { type: 'float16' })
        for (const [i, value] of values.entries())
          expect(Math.abs(kept[i]! - value)).toBeLessThanOrEqual(
            Math.max(2 ** -25, Math.abs(value) * 2 ** -11),
          )
      }),
    )
  })

  it.each([0, 1] as const)('in int8 is off by at most half a step of its line, along axis %i', (axis) => {
    fc.assert(
      fc.property(matrices, ([columns, list]) => {
        const values = Float32Array.from(list)
        const kept = roundTrip(values, columns, { type: 'int8', axis })
        const line = (i: number) => (axis === 0 ? Math.floor(i / columns) : i % columns)
        for (const [i, value] of values.entries()) {
          const largest = Math.max(...[...values].filter((_, j) => line(j) === line(i)).map(Math.abs))
          expect(Math.abs(kept[i]! - value)).toBeLessThanOrEqual((largest / 127 / 2) * (1 + 1e-5) + 1e-42)
        }
      }),
    )
  })

  it('in int8 keeps the largest of each line and lines of zeros', () => {
    const values = Float32Array.of(0, 0, 0, 5, -3, 0)
    const kept = roundTrip(values, 3, { type: 'int8', axis: 0 })
    expectClose(kept, [0, 0, 0, 5, -3, 0], { relative: 1 / 254 })
    expect(kept[3]).toBeCloseTo(5, 6)
  })

  it('refuses float16 for what it cannot hold', () => {
    expect(store(Float32Array.of(1, 65504), 1, { type: 'float16' })).toBeDefined()
    expect(store(Float32Array.of(1, 65520), 1, { type: 'float16' })).toBeUndefined()
    expect(store(Float32Array.of(-1e5, 1), 1, { type: 'float16' })).toBeUndefined()
  })
})

describe.each(['cpu', 'onnx'] as const)('an array on %s', (name) => {
  it.each(STORAGES)('is read back as what it stands for: %o', async (storage) => {
    const engine = await freshEngine(name)
    const matrix = normal('matrix', [5, 7])
    engine.place('w', matrix, { storage })
    expectSame(await engine.read('w'), roundTrip(matrix.values, 7, storage))
  })

  it('stays in float32 where float16 cannot hold it', async () => {
    const engine = await freshEngine(name)
    engine.place('w', floats([1, 2], [1e6, 1]), { storage: { type: 'float16' } })
    expect([...(await engine.read('w'))]).toEqual([1e6, 1])
  })
})

describe('an array in the memory of onnx', () => {
  it.each([
    [undefined, 4 * 35],
    [{ type: 'float16' }, 2 * 35],
    [{ type: 'int8', axis: 0 }, 35 + 4 * 5],
    [{ type: 'int8', axis: 1 }, 35 + 4 * 7],
  ] as const)('stored as %o takes %i bytes', async (storage, bytes) => {
    const engine = await freshEngine('onnx')
    engine.place('w', normal('matrix', [5, 7]), { storage })
    expect(engine.memoryBytes()).toBe(bytes)
    engine.remove('w')
    expect(engine.memoryBytes()).toBe(0)
  })

  it('loses its scales when it is replaced', async () => {
    const engine = await freshEngine('onnx')
    engine.place('w', normal('matrix', [5, 7]), { storage: { type: 'int8', axis: 0 } })
    engine.place('w', normal('matrix', [2, 2]))
    expect(engine.memoryBytes()).toBe(16)
  })

  it('is refused to a kernel that would take it for float32', async () => {
    const engine = await freshEngine('onnx')
    engine.place('w', normal('matrix', [5, 7]), { storage: { type: 'float16' } })
    const step = { name: 'sum', reads: ['w'], writes: [], inputs: {} }
    expect(await refusal(() => engine.compile({ ...step, build: ({ w }) => ({ sum: tf.sum(w!) }) }))).toEqual(
      { code: 'STORAGE_UNSUPPORTED', kernel: 'Sum', input: 'x', storage: 'float16' },
    )
  })
})

const tensor = ({ shape, values }: { shape: readonly number[]; values: Float32Array }) =>
  tf.tensor2d(values, shape as [number, number])
const x = () => tensor(normal('x', [4, 6]))
const xTransposed = () => tensor(normal('x', [6, 4]))
const y = () => tensor(normal('y', [4, 5]))
const c = () => tensor(normal('c', [4, 5]))

const withSlope = (at: tf.Tensor2D, run: (x: tf.Tensor2D) => tf.Tensor) => {
  const out = run(at)
  return { out, slope: tf.grad((x: tf.Tensor) => run(x as tf.Tensor2D))(at, tf.mul(out, 0.5)) }
}

/** What reads a frozen matrix `[6, 5]`, and the gradient of its other operand. */
const READERS: Readonly<Record<string, (w: tf.Tensor2D) => Record<string, tf.Tensor>>> = {
  gemm: (w) => withSlope(x(), (x) => gemm(x, w)),
  'gemm with all it can do': (w) => withSlope(x(), (x) => gemm(x, w, { alpha: 0.3, c: c() })),
  'gemm, transposed left': (w) => ({ out: gemm(xTransposed(), w, { transposeA: true, c: c() }) }),
  'gemm, transposed right': (w) => withSlope(y(), (y) => gemm(y, w, { transposeB: true })),
  'gemm, transposed both': (w) => ({
    out: gemm(tf.transpose(y()), w, { transposeA: true, transposeB: true }),
  }),
  embedding: (w) => ({ out: embedding(w, tf.tensor1d([5, 0, 0, 3], 'int32')) }),
  head: (w) =>
    withSlope(y(), (y) =>
      headCrossEntropy(y, w, tf.tensor1d([5, 0, 2, 3], 'int32'), tf.tensor1d([1, 0.5, 0, 2]), {
        gradX: true,
        gradW: false,
      }),
    ),
}

describe.each(Object.entries(READERS))('%s', (_, reader) => {
  it.each(STORAGES)('of a matrix stored as %o is the same on onnx as on cpu', async (storage) => {
    const results = await Promise.all(
      (['cpu', 'onnx'] as const).map(async (name) => {
        const engine = await freshEngine(name)
        engine.place('w', normal('w', [6, 5]), { storage })
        const step = { name: 'reader', reads: ['w'], writes: [], inputs: {} }
        const program = await compiled(engine, {
          ...step,
          build: ({ w }) => reader(w as tf.Tensor2D),
        })
        return program.run({})
      }),
    )
    for (const [key, values] of Object.entries(results[0]!))
      expectClose(results[1]![key]!, values, { relative: 2e-6 }, key)
  })
})

const MODELS: readonly [string, ModelConfig][] = [
  ['GPT-2', TINY],
  ['Llama', TINY_LLAMA],
  ['Llama, tied', { ...TINY_LLAMA, tied: true }],
]

/** Loss and gradients to every LoRA array of one expert step, and the logits of the base. */
async function measured(name: EngineName, model: ModelConfig, dtype: BaseDtype, base = tinyBase(model)) {
  const engine = await freshEngine(name)
  placeBase(engine, base, dtype)
  const shape = shapeOf(mixtureOf(3), model)
  const rows = shape.batch * shape.context
  for (const key of [EXPERTS, 'router'] as const) {
    const { size } = key === EXPERTS ? shape.layout.experts : shape.layout.router
    engine.place(key, normal(key, [size], 0.3))
    for (const moment of moments(key)) engine.place(moment, floats([size], new Float32Array(size)))
  }
  const program = await compiled(engine, expertStep(shape))
  const { loss } = await program.run({
    tokens: randomInts('tokens', rows, model.vocabSize),
    targets: randomInts('targets', rows, model.vocabSize),
    learningRate: Float32Array.of(0),
    correction: Float32Array.of(1, 1),
    decay: Float32Array.of(0),
  })
  const next = await compiled(engine, nextTokenStep({ ...shapeOf(NO_EXPERTS, model), context: 16 }))
  const { logits } = await next.run({
    tokens: randomInts('prompt', 16, model.vocabSize),
    position: Int32Array.of(11),
  })
  const first = (await engine.read(moments(EXPERTS)[0])).map((moment) => moment / (1 - ADAMW.beta1))
  return { loss: loss!, logits: logits!, gradients: namedArrays(shape.layout.experts, first) }
}

type Measured = Awaited<ReturnType<typeof measured>>

function expectEqual(actual: Measured, expected: Measured): void {
  expectClose(actual.loss, expected.loss, { relative: 2e-6 }, 'loss')
  expectClose(actual.logits, expected.logits, { relative: 1e-5 }, 'logits')
  for (const [i, { name, values }] of expected.gradients.entries())
    expectClose(actual.gradients[i]!.values, values, { relative: 5e-5 }, name)
}

describe('a base whose files are in float16', () => {
  const bytes = async (config: ModelConfig, dtype: BaseDtype, bits: 16 | 32 = 16) => {
    const engine = await freshEngine('onnx')
    const arrays = [{ name: 'h.0.attn.c_attn.weight', ...normal('matrix', [2, 3]) }]
    placeBase(engine, { ...baseOf(config, arrays), bits }, dtype)
    return engine.memoryBytes()
  }

  it('stays in float16 by itself where that saves much, and only there', async () => {
    expect(await bytes(GPT2_SMALL, 'auto')).toBe(12)
    expect(await bytes(TINY, 'auto')).toBe(24)
    expect(await bytes(GPT2_SMALL, 'auto', 32)).toBe(24)
  })

  it('is kept as one asks', async () => {
    expect(await bytes(GPT2_SMALL, 'float32')).toBe(24)
    expect(await bytes(TINY, 'float16')).toBe(12)
  })
})

describe.each(MODELS)('a base of the family of %s', (_, model) => {
  it.each(['float32', 'float16', 'int8'] as const)(
    'in %s gives on onnx what the numbers that it stands for give on cpu',
    async (dtype) => {
      const expected = await measured('cpu', model, dtype)
      expectEqual(await measured('onnx', model, dtype), expected)
    },
  )

  it('in float16 loses nothing when its files are in float16', async () => {
    const base = tinyBase(model)
    const halved = base.arrays.map((one) => ({
      ...one,
      values: roundTrip(one.values, 1, { type: 'float16' }),
    }))
    const [exact, kept] = [
      await measured('onnx', model, 'float32', baseOf(model, halved)),
      await measured('onnx', model, 'float16', baseOf(model, halved)),
    ]
    expectSame(kept.loss, exact.loss)
    expectSame(kept.logits, exact.logits)
    for (const [i, { name, values }] of exact.gradients.entries())
      expectSame(kept.gradients[i]!.values, values, name)
  })

  it('takes as many bytes in int8 and float16 as it should', async () => {
    const { entries } = baseLayout(model)
    const bytes = (bits: number) =>
      entries.reduce(
        (sum, { size, outputs, shape }) =>
          sum +
          (outputs === undefined ? 4 * size : (bits / 8) * size + (bits === 8 ? 4 * shape[outputs]! : 0)),
        0,
      )
    for (const [dtype, bits] of [
      ['float32', 32],
      ['float16', 16],
      ['int8', 8],
    ] as const) {
      const engine = await freshEngine('onnx')
      placeBase(engine, tinyBase(model), dtype)
      expect(engine.memoryBytes(), dtype).toBe(bytes(bits))
    }
  })
})
