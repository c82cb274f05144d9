import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { TFJS_KERNELS } from '../src/engine/onnx/tfjs-kernels.ts'
import { floats, ints, normal } from './helpers/arrays.ts'
import { expectClose } from './helpers/compare.ts'
import { type Build, fileEngine, type HostTensors, runOnce } from './helpers/engines.ts'
import { kernelsOf, recorded } from './helpers/graphs.ts'

type One = (...tensors: tf.Tensor[]) => tf.Tensor | tf.Tensor[]
type Row = readonly [title: string, inputs: HostTensors, run: One]

const a23 = normal('a', [2, 3])
const b23 = normal('b', [2, 3])
const row3 = normal('row', [3])
const column2 = normal('column', [2, 1])
const x234 = normal('x', [2, 3, 4])
const positive = floats([2, 3], [0.1, 0.5, 1, 2, 3, 10])
const i23 = ints([2, 3], [1, -2, 3, 0, 5, -6])
const j23 = ints([2, 3], [1, 2, -3, 0, 4, -6])
/** Equal in some places. */
const near = floats(
  [2, 3],
  [...a23.values].map((x, i) => (i % 2 === 0 ? x : x + 0.1)),
)

const binary = (run: One): Row[] => [
  ['of equal shapes', { a: a23, b: positive }, run],
  ['with a row', { a: a23, b: row3 }, run],
  ['of a row', { a: row3, b: a23 }, run],
  ['of a column and a row', { a: column2, b: row3 }, run],
]
const binaryOfInts = (run: One): Row[] => [...binary(run), ['of integers', { a: i23, b: j23 }, run]]
const comparison = (run: One): Row[] => [
  ['of floats, some equal', { a: a23, b: near }, run],
  ['with a row', { a: a23, b: row3 }, run],
  ['of integers', { a: i23, b: j23 }, run],
]
const unary = (run: One, x = a23): Row[] => [
  ['of a matrix', { x }, run],
  ['of a scalar', { x: floats([], [0.7]) }, run],
]
const reduction = (run: (x: tf.Tensor, axis?: number | number[], keepDims?: boolean) => tf.Tensor): Row[] => [
  ['over everything', { x: x234 }, (x) => run(x)],
  ['over the first axis', { x: x234 }, (x) => run(x, 0)],
  ['over the last axis, kept', { x: x234 }, (x) => run(x, -1, true)],
  ['over two axes', { x: x234 }, (x) => run(x, [0, 2])],
  ['over two axes, kept', { x: x234 }, (x) => run(x, [1, 2], true)],
]
const integers = (run: One): Row => ['of integers', { x: i23 }, run]

/** What each mapping is tried with. */
const ROWS: Readonly<Record<string, readonly Row[]>> = {
  Add: binaryOfInts((a, b) => tf.add(a, b)),
  Sub: binaryOfInts((a, b) => tf.sub(a, b)),
  Multiply: binaryOfInts((a, b) => tf.mul(a, b)),
  RealDiv: binary((a, b) => tf.div(a, b)),
  Maximum: binaryOfInts((a, b) => tf.maximum(a, b)),
  Minimum: binaryOfInts((a, b) => tf.minimum(a, b)),
  Greater: comparison((a, b) => tf.greater(a, b)),
  GreaterEqual: comparison((a, b) => tf.greaterEqual(a, b)),
  Less: comparison((a, b) => tf.less(a, b)),
  LessEqual: comparison((a, b) => tf.lessEqual(a, b)),
  Equal: comparison((a, b) => tf.equal(a, b)),
  LogicalAnd: [['', { a: a23, b: row3 }, (a, b) => tf.logicalAnd(tf.greater(a, 0), tf.greater(b, 0))]],
  LogicalNot: [['', { a: a23 }, (a) => tf.logicalNot(tf.greater(a, 0))]],
  Neg: [...unary((x) => tf.neg(x)), integers((x) => tf.neg(x))],
  Exp: unary((x) => tf.exp(x)),
  Log: unary((x) => tf.log(x), positive),
  Sqrt: unary((x) => tf.sqrt(x), positive),
  Tanh: unary((x) => tf.tanh(x)),
  Sigmoid: unary((x) => tf.sigmoid(x)),
  Abs: [...unary((x) => tf.abs(x)), integers((x) => tf.abs(x))],
  Reciprocal: unary((x) => tf.reciprocal(x)),
  Erf: unary((x) => tf.erf(x)),
  Square: [...unary((x) => tf.square(x)), integers((x) => tf.square(x))],
  Rsqrt: unary((x) => tf.rsqrt(x), positive),
  Identity: unary((x) => tf.clone(x)),
  Cast: [
    ['to integers cuts off', { x: floats([5], [-1.7, -0.2, 0, 0.9, 2.5]) }, (x) => tf.cast(x, 'int32')],
    ['from integers', { x: i23 }, (x) => tf.cast(x, 'float32')],
    ['from booleans', { x: a23 }, (x) => tf.cast(tf.greater(x, 0), 'float32')],
    ['from booleans to integers', { x: a23 }, (x) => tf.cast(tf.greater(x, 0), 'int32')],
    ['to booleans', { x: floats([4], [-1, 0, 0.5, 2]) }, (x) => tf.cast(x, 'bool')],
  ],
  Reshape: [
    ['to another rank', { x: x234 }, (x) => tf.reshape(x, [6, 4])],
    ['with an inferred dimension', { x: x234 }, (x) => tf.reshape(x, [4, -1])],
    ['to a scalar', { x: normal('one', [1, 1]) }, (x) => tf.reshape(x, [])],
  ],
  ExpandDims: [
    ['in front', { x: a23 }, (x) => tf.expandDims(x, 0)],
    ['in the middle', { x: a23 }, (x) => tf.expandDims(x, 1)],
    ['behind', { x: a23 }, (x) => tf.expandDims(x, -1)],
  ],
  Transpose: [
    ['of a matrix', { x: a23 }, (x) => tf.transpose(x)],
    ['of three axes', { x: x234 }, (x) => tf.transpose(x, [2, 0, 1])],
  ],
  BatchMatMul: [
    ['of matrices', { a: a23, b: normal('b', [3, 4]) }, (a, b) => tf.matMul(a, b)],
    ['transposed left', { a: a23, b: normal('b', [2, 4]) }, (a, b) => tf.matMul(a, b, true)],
    ['transposed right', { a: a23, b: normal('b', [4, 3]) }, (a, b) => tf.matMul(a, b, false, true)],
    ['transposed both', { a: a23, b: normal('b', [4, 2]) }, (a, b) => tf.matMul(a, b, true, true)],
    ['of batches', { a: x234, b: normal('b', [2, 4, 5]) }, (a, b) => tf.matMul(a, b)],
    [
      'of batches, transposed left',
      { a: x234, b: b23 },
      (a, b) => tf.matMul(a, tf.reshape(b, [2, 3, 1]), true),
    ],
    [
      'of batches, transposed right',
      { a: x234, b: normal('b', [2, 5, 4]) },
      (a, b) => tf.matMul(a, b, false, true),
    ],
    ['of a batch with one', { a: x234, b: normal('b', [1, 4, 5]) }, (a, b) => tf.matMul(a, b)],
    [
      'of a batch with one, transposed',
      { a: x234, b: normal('b', [1, 5, 4]) },
      (a, b) => tf.matMul(a, b, false, true),
    ],
    [
      'of four axes, transposed both',
      { a: normal('a', [2, 3, 4, 5]), b: normal('b', [2, 3, 2, 4]) },
      (a, b) => tf.matMul(a, b, true, true),
    ],
  ],
  Softmax: [
    ['of a row', { x: row3 }, (x) => tf.softmax(x)],
    ['of a matrix', { x: a23 }, (x) => tf.softmax(x)],
    ['of large logits', { x: floats([2, 2], [1000, 990, -1000, 0]) }, (x) => tf.softmax(x)],
    ['of three axes', { x: x234 }, (x) => tf.softmax(x)],
  ],
  Sum: [
    ...reduction((x, axis, keepDims) => tf.sum(x, axis, keepDims)),
    integers((x) => tf.sum(x, 1)),
    ['of booleans', { x: a23 }, (x) => tf.sum(tf.greater(x, 0))],
  ],
  Mean: [...reduction((x, axis, keepDims) => tf.mean(x, axis, keepDims)), integers((x) => tf.mean(x, 1))],
  Max: [...reduction((x, axis, keepDims) => tf.max(x, axis, keepDims)), integers((x) => tf.max(x, 0))],
  Slice: [
    ['of every axis', { x: x234 }, (x) => tf.slice(x, [1, 0, 2], [1, 2, 2])],
    ['of one axis, to the end', { x: x234 }, (x) => tf.slice(x, [0, 1, 0], [2, -1, 4])],
    ['of a vector', { x: row3 }, (x) => tf.slice(x, 1, 2)],
    ['without sizes', { x: x234 }, (x) => tf.slice(x, [0, 1, 2])],
    ['of the first axes only', { x: x234 }, (x) => tf.slice(x, [1], [1])],
    ['of integers', { x: i23 }, (x) => tf.slice(x, [0, 1], [2, 1])],
  ],
  Concat: [
    ['along the first axis', { a: a23, b: b23 }, (a, b) => tf.concat([a, b], 0)],
    ['along the last axis', { a: a23, b: column2 }, (a, b) => tf.concat([a, b], -1)],
    ['of twelve in order', { x: row3 }, (x) => tf.concat(Array.from({ length: 12 }, (_, i) => tf.add(x, i)))],
  ],
  Pack: [
    ['in front', { a: a23, b: b23 }, (a, b) => tf.stack([a, b])],
    ['in the middle', { a: a23, b: b23 }, (a, b) => tf.stack([a, b], 1)],
    ['behind', { a: a23, b: b23 }, (a, b) => tf.stack([a, b], -1)],
    ['of scalars', { a: floats([], [1]), b: floats([], [2]) }, (a, b) => tf.stack([a, b])],
  ],
  Unpack: [
    ['of the first axis', { x: x234 }, (x) => tf.unstack(x)],
    ['of the last axis', { x: x234 }, (x) => tf.unstack(x, -1)],
    ['of one', { x: normal('x', [1, 3]) }, (x) => tf.unstack(x)],
  ],
  SplitV: [
    ['into equal parts', { x: x234 }, (x) => tf.split(x, 2, 2)],
    ['into given sizes', { x: x234 }, (x) => tf.split(x, [1, 2], 1)],
    ['with a size to infer', { x: x234 }, (x) => tf.split(x, [1, -1], -1)],
  ],
  GatherV2: [
    ['of rows', { x: a23, i: ints([4], [1, 0, 1, 1]) }, (x, i) => tf.gather(x, i)],
    ['of columns', { x: a23, i: ints([2], [2, 0]) }, (x, i) => tf.gather(x, i, 1)],
    ['by a matrix', { x: a23, i: ints([2, 2], [1, 0, 0, 1]) }, (x, i) => tf.gather(x, i)],
  ],
  Select: [
    ['of equal shapes', { a: a23, b: b23 }, (a, b) => tf.where(tf.greater(a, b), a, b)],
    ['with a row', { a: a23, b: row3 }, (a, b) => tf.where(tf.greater(a, 0), a, b)],
  ],
  ZerosLike: [['', { a: a23 }, (a) => tf.zerosLike(a)]],
  OnesLike: [['', { a: a23 }, (a) => tf.onesLike(a)]],
  Fill: [
    ['with floats', { a: a23 }, (a) => tf.add(a, tf.fill([2, 3], 0.3))],
    ['with integers', { a: i23 }, (a) => tf.add(a, tf.fill([2, 3], 7, 'int32'))],
    ['with booleans', { a: a23 }, (a) => tf.logicalAnd(tf.greater(a, 0), tf.fill([2, 3], 1, 'bool'))],
  ],
  Tile: [
    ['of a matrix', { x: a23 }, (x) => tf.tile(x, [2, 3])],
    ['of integers', { x: i23 }, (x) => tf.tile(x, [1, 2])],
  ],
  PadV2: [
    [
      'with zeros',
      { x: a23 },
      (x) =>
        tf.pad(x, [
          [1, 0],
          [0, 2],
        ]),
    ],
    [
      'with a number',
      { x: a23 },
      (x) =>
        tf.pad(
          x,
          [
            [0, 1],
            [2, 0],
          ],
          -1.5,
        ),
    ],
    [
      'of integers',
      { x: i23 },
      (x) =>
        tf.pad(
          x,
          [
            [0, 1],
            [2, 0],
          ],
          4,
        ),
    ],
  ],
  Cumsum: [
    ['', { x: a23 }, (x) => tf.cumsum(x, 1)],
    ['along the first axis', { x: a23 }, (x) => tf.cumsum(x, 0)],
    ['without the element itself', { x: a23 }, (x) => tf.cumsum(x, 1, true)],
    ['from the end', { x: a23 }, (x) => tf.cumsum(x, 1, false, true)],
  ],
}

/** Kernels that a trace resolves at once. */
const LEAVE_NO_NODE = ['Identity', 'ZerosLike', 'OnesLike', 'Fill']

const named = (result: tf.Tensor | tf.Tensor[]): Record<string, tf.Tensor> =>
  Object.fromEntries([result].flat().map((tensor, i) => [`output ${i}`, tensor]))

const forward =
  (run: One): Build =>
  (t) =>
    named(run(...Object.values(t)))

const cpu = await fileEngine('cpu')
const onnx = await fileEngine('onnx')

async function expectEqualOnBoth(inputs: HostTensors, build: Build): Promise<void> {
  const expected = await runOnce(cpu, inputs, build)
  const actual = await runOnce(onnx, inputs, build)
  expect(Object.keys(actual)).toEqual(Object.keys(expected))
  for (const [name, values] of Object.entries(expected))
    expectClose(actual[name]!, values, { relative: 1e-6 }, name)
}

it('has a row for every kernel', () => {
  expect([...Object.keys(ROWS), 'LogSoftmax'].sort()).toEqual(Object.keys(TFJS_KERNELS).sort())
})

it('LogSoftmax, which tf.logSoftmax composes of others', async () => {
  const inputs = { logits: floats([2, 3], [1000, 990, 0, -1, 2, 0.5]) }
  const { y } = await runOnce(onnx, inputs, ({ logits }) => ({
    y: tf.engine().runKernel('LogSoftmax', { logits: logits! }, { axis: -1 }) as unknown as tf.Tensor,
  }))
  const expected = await runOnce(cpu, inputs, ({ logits }) => ({ y: tf.logSoftmax(logits!) }))
  expectClose(y!, expected['y']!, { relative: 1e-6 })
})

it('leaves a reduction over no axis out', async () => {
  const build: Build = (t) => named(tf.add(tf.sum(t['x']!, []), 1))
  expect(kernelsOf(recorded({ x: a23 }, build))).toEqual(['Add'])
  await expectEqualOnBoth({ x: a23 }, build)
})

describe.each(Object.keys(ROWS))('%s', (kernel) => {
  it.each([...ROWS[kernel]!])('%s', async (_, inputs, run) => {
    expect(kernelsOf(recorded(inputs, forward(run))).includes(kernel)).toBe(!LEAVE_NO_NODE.includes(kernel))
    await expectEqualOnBoth(inputs, forward(run))
  })
})

describe("the gradient that tfjs's tape makes", () => {
  const GRADIENTS: readonly Row[] = [
    ['of products with rows', { a: a23, b: row3 }, (a, b) => tf.mul(a, b)],
    ['of quotients with columns', { a: a23, b: column2 }, (a, b) => tf.div(a, b)],
    ['of sums with scalars', { a: a23, b: floats([], [2]) }, (a, b) => tf.sub(a, b)],
    ['of maxima', { a: a23, b: b23 }, (a, b) => tf.maximum(a, b)],
    ['of products of matrices', { a: a23, b: normal('b', [4, 3]) }, (a, b) => tf.matMul(a, b, false, true)],
    ['of softmax', { x: a23 }, (x) => tf.softmax(x)],
    ['of log softmax', { x: a23 }, (x) => tf.logSoftmax(x)],
    ['of means', { x: x234 }, (x) => tf.mean(x, [0, 2])],
    ['of maxima over an axis', { x: a23 }, (x) => tf.max(x, 1)],
    ['of slices', { x: x234 }, (x) => tf.slice(x, [1, 0, 2], [1, 2, 2])],
    ['of splits', { x: x234 }, (x) => tf.split(x, [1, 2], 1)[1]!],
    ['of concatenations', { a: a23, b: column2 }, (a, b) => tf.concat([a, b], 1)],
    ['of stacks', { a: a23, b: b23 }, (a, b) => tf.stack([a, b], 1)],
    ['of unstacked parts', { x: a23 }, (x) => tf.unstack(x)[1]!],
    ['of transpositions', { x: x234 }, (x) => tf.transpose(x, [2, 0, 1])],
    [
      'of choices',
      { a: a23, b: b23 },
      (a, b) => tf.where(tf.tensor2d([1, 0, 1, 0, 0, 1], [2, 3], 'bool'), a, b),
    ],
    ['of tanh of roots', { x: positive }, (x) => tf.tanh(tf.sqrt(x))],
    ['of running sums', { x: a23 }, (x) => tf.cumsum(x, 1)],
  ]

  it.each([...GRADIENTS])('%s', async (_, inputs, run) => {
    await expectEqualOnBoth(inputs, (t) => {
      const result = run(...Object.values(t)) as tf.Tensor
      const direction = tf.tensor(normal('direction', result.shape).values, result.shape)
      const gradients = tf.grads((...x: tf.Tensor[]) => run(...x) as tf.Tensor)(Object.values(t), direction)
      return named([result, ...gradients])
    })
  })
})
