import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { attention } from '../src/ops/attention.ts'
import { embedding } from '../src/ops/embedding.ts'
import { gelu } from '../src/ops/gelu.ts'
import { gemm, type GemmOptions } from '../src/ops/gemm.ts'
import { headCrossEntropy } from '../src/ops/head-cross-entropy.ts'
import { layerNorm } from '../src/ops/layer-norm.ts'
import { rmsNorm } from '../src/ops/rms-norm.ts'
import { rotary } from '../src/ops/rotary.ts'
import { swiglu } from '../src/ops/swiglu.ts'
import { topSelection } from '../src/ops/top-selection.ts'
import { floats, ints, normal, randomInts } from './helpers/arrays.ts'
import { expectClose } from './helpers/compare.ts'
import {
  compiled,
  fileEngine,
  type HostTensors,
  pureStep,
  runOnce,
  type Tensors,
  valuesOf,
} from './helpers/engines.ts'

interface OperatorCase {
  readonly title: string
  readonly inputs: HostTensors
  /** Inputs that a gradient goes to. */
  readonly differentiable: readonly string[]
  readonly run: (tensors: Tensors) => tf.Tensor
}

const gemmCase = (title: string, a: number[], b: number[], c: number[] | undefined, rest: GemmOptions) => ({
  title: `gemm ${title}`,
  inputs: {
    a: normal('a', a),
    b: normal('b', b),
    ...(c === undefined ? {} : { c: normal('c', c) }),
  },
  differentiable: c === undefined ? ['a', 'b'] : ['a', 'b', 'c'],
  run: (t: Tensors) => gemm(t['a']!, t['b']!, { ...rest, c: t['c'] }),
})

const layerNormCase = (title: string, [N, C]: [number, number], epsilon: number) => ({
  title: `layerNorm ${title}`,
  inputs: { x: normal('x', [N, C]), gain: normal('gain', [C]), bias: normal('bias', [C]) },
  differentiable: ['x', 'gain', 'bias'],
  run: (t: Tensors) => layerNorm(t['x'] as tf.Tensor2D, t['gain']!, t['bias']!, epsilon),
})

const geluCase = (title: string, shape: number[]) => ({
  title: `gelu ${title}`,
  inputs: { x: normal('x', shape, 2) },
  differentiable: ['x'],
  run: (t: Tensors) => gelu(t['x']!),
})

const attentionCase = (title: string, [batch, T, heads, D]: [number, number, number, number]) => ({
  title: `attention ${title}`,
  inputs: { qkv: normal('qkv', [batch * T, 3 * heads * D]) },
  differentiable: ['qkv'],
  run: (t: Tensors) => attention(t['qkv'] as tf.Tensor2D, { batch, heads }),
})

const groupedCase = (
  title: string,
  [batch, T, heads, kvHeads, D]: [number, number, number, number, number],
) => ({
  title: `attention ${title}`,
  inputs: { qkv: normal('qkv', [batch * T, (heads + 2 * kvHeads) * D]) },
  differentiable: ['qkv'],
  run: (t: Tensors) => attention(t['qkv'] as tf.Tensor2D, { batch, heads, kvHeads }),
})

const rmsNormCase = (title: string, [N, C]: [number, number], epsilon: number) => ({
  title: `rmsNorm ${title}`,
  inputs: { x: normal('x', [N, C]), gain: normal('gain', [C]) },
  differentiable: ['x', 'gain'],
  run: (t: Tensors) => rmsNorm(t['x'] as tf.Tensor2D, t['gain']!, epsilon),
})

const swigluCase = (title: string, shape: number[]) => ({
  title: `swiglu ${title}`,
  inputs: { gate: normal('gate', shape, 2), up: normal('up', shape) },
  differentiable: ['gate', 'up'],
  run: (t: Tensors) => swiglu(t['gate']!, t['up']!),
})

const rotaryCase = (title: string, [batch, T, heads, D]: [number, number, number, number]) => ({
  title: `rotary ${title}`,
  inputs: {
    x: normal('x', [batch * T, heads * D]),
    ...rotation(normal('angles', [T, D / 2], 2)),
  },
  differentiable: ['x'],
  run: (t: Tensors) =>
    rotary(t['x'] as tf.Tensor2D, t['cos'] as tf.Tensor2D, t['sin'] as tf.Tensor2D, { batch, heads }),
})

const rotation = ({ shape, values }: { shape: readonly number[]; values: Float32Array }) => ({
  cos: floats(shape, values.map(Math.cos)),
  sin: floats(shape, values.map(Math.sin)),
})

const embeddingCase = (title: string, table: [number, number], ids: number[]) => ({
  title: `embedding ${title}`,
  inputs: { table: normal('table', table), ids: ints([ids.length], ids) },
  differentiable: ['table'],
  run: (t: Tensors) => embedding(t['table'] as tf.Tensor2D, t['ids'] as tf.Tensor1D),
})

const headCase = (title: string, [N, C, V]: [number, number, number], weights: number[]) => ({
  title: `headCrossEntropy ${title}`,
  inputs: {
    x: normal('x', [N, C]),
    w: normal('w', [V, C]),
    targets: ints([N], randomInts('targets', N, V)),
    weights: floats([N], weights),
  },
  differentiable: ['x', 'w'],
  run: (t: Tensors) => head(t, true, true),
})

const head = (t: Tensors, gradX: boolean, gradW: boolean) =>
  headCrossEntropy(
    t['x'] as tf.Tensor2D,
    t['w'] as tf.Tensor2D,
    t['targets'] as tf.Tensor1D,
    t['weights'] as tf.Tensor1D,
    { gradX, gradW },
  )

const CASES: readonly OperatorCase[] = [
  gemmCase('plain', [3, 4], [4, 5], undefined, {}),
  gemmCase('with a bias', [3, 4], [4, 5], [5], {}),
  gemmCase('with a matrix', [3, 4], [4, 5], [3, 5], {}),
  gemmCase('transposed left', [4, 3], [4, 5], undefined, { transposeA: true }),
  gemmCase('transposed right', [3, 4], [5, 4], undefined, { transposeB: true }),
  gemmCase('transposed both', [4, 3], [5, 4], undefined, { transposeA: true, transposeB: true }),
  gemmCase('scaled, without c', [3, 4], [4, 5], undefined, { alpha: -2.5 }),
  gemmCase('scaled, with a bias that is not', [3, 4], [4, 5], [5], { alpha: 0.3 }),
  gemmCase('scaled, with a matrix that is not', [3, 4], [4, 5], [3, 5], { alpha: 5.657 }),
  gemmCase('scaled, transposed left, with a bias', [4, 3], [4, 5], [5], { alpha: 2, transposeA: true }),
  gemmCase('scaled, transposed right, with a bias', [3, 4], [5, 4], [5], { alpha: 2, transposeB: true }),
  gemmCase('scaled, transposed both, with a matrix', [4, 3], [5, 4], [3, 5], {
    alpha: 2,
    transposeA: true,
    transposeB: true,
  }),
  gemmCase('of one row', [1, 7], [7, 2], [2], {}),
  gemmCase('of one column', [5, 1], [1, 3], [3], {}),
  gemmCase('into one column, transposed right', [5, 3], [1, 3], [1], { transposeB: true }),
  layerNormCase('of several rows', [5, 8], 1e-5),
  layerNormCase('of one row', [1, 3], 1e-5),
  layerNormCase('with a large epsilon', [4, 6], 0.5),
  geluCase('of a matrix', [4, 7]),
  geluCase('of one element', [1, 1]),
  attentionCase('of two sequences and two heads', [2, 5, 2, 3]),
  attentionCase('of one sequence', [1, 6, 2, 4]),
  attentionCase('of one head', [2, 4, 1, 5]),
  attentionCase('of one token', [2, 1, 2, 3]),
  attentionCase('of one channel a head', [1, 7, 3, 1]),
  groupedCase('of four heads of queries on two of keys', [2, 5, 4, 2, 3]),
  groupedCase('of three heads of queries on one of keys', [1, 4, 3, 1, 2]),
  rmsNormCase('of several rows', [5, 8], 1e-5),
  rmsNormCase('of one row', [1, 3], 1e-5),
  rmsNormCase('with a large epsilon', [4, 6], 0.5),
  swigluCase('of a matrix', [4, 7]),
  swigluCase('of one element', [1, 1]),
  rotaryCase('of two sequences and three heads', [2, 5, 3, 4]),
  rotaryCase('of one pair of channels', [1, 4, 1, 2]),
  embeddingCase('with repeated and absent rows', [6, 3], [4, 0, 4, 4, 1]),
  embeddingCase('of one token', [3, 2], [2]),
  headCase('of a mean', [6, 4, 9], [1, 1, 1, 1, 1, 1]),
  headCase('of one token', [1, 3, 5], [1]),
  headCase('with weights of zero and of other sizes', [5, 4, 7], [0.5, 0, 2, 0, 1]),
]

/** The result, and the gradient of sum(result * direction) to every differentiable input. */
const withGradients = ({ run, differentiable }: OperatorCase) => {
  return (t: Tensors): Record<string, tf.Tensor> => {
    const result = run(t)
    const direction = tf.tensor(normal('direction', result.shape).values, result.shape)
    const gradients = tf.grads((...varied: tf.Tensor[]) =>
      run({ ...t, ...Object.fromEntries(differentiable.map((name, i) => [name, varied[i]!])) }),
    )(
      differentiable.map((name) => t[name]!),
      direction,
    )
    return { result, ...Object.fromEntries(differentiable.map((name, i) => [`d ${name}`, gradients[i]!])) }
  }
}

const cpu = await fileEngine('cpu')
const onnx = await fileEngine('onnx')

describe.each(CASES)('$title', (operator) => {
  it('gives on onnx what it gives on cpu, values and gradients', async () => {
    const build = withGradients(operator)
    const expected = await runOnce(cpu, operator.inputs, build)
    const actual = await runOnce(onnx, operator.inputs, build)
    expect(Object.keys(actual)).toEqual(Object.keys(expected))
    for (const [name, values] of Object.entries(expected))
      expectClose(actual[name]!, values, { relative: 2e-6, absolute: 1e-7 }, name)
  })

  it.each(operator.differentiable)('has the gradient to %s that finite differences have', async (name) => {
    const gradients = await runOnce(cpu, operator.inputs, withGradients(operator))
    const program = await compiled(
      cpu,
      pureStep(operator.inputs, (t) => ({ y: operator.run(t) })),
    )
    const direction = normal('direction', [gradients['result']!.length]).values
    const along = async (values: Float32Array) => {
      const { y } = await program.run({ ...valuesOf(operator.inputs), [name]: values })
      return y!.reduce((sum, value, i) => sum + value * direction[i]!, 0)
    }
    const values = operator.inputs[name]!.values as Float32Array
    expectClose(gradients[`d ${name}`]!, await differences(values, along), { relative: 2e-3 }, name)
  })
})

/** Central differences of f to each element. */
async function differences(
  values: Float32Array,
  f: (values: Float32Array) => Promise<number>,
): Promise<number[]> {
  const slopes: number[] = []
  for (let i = 0; i < values.length; i++) {
    const above = values.slice()
    const below = values.slice()
    above[i]! += 0.01
    below[i]! -= 0.01
    slopes.push(((await f(above)) - (await f(below))) / (above[i]! - below[i]!))
  }
  return slopes
}

describe('gelu', () => {
  it('is the tanh form at known points, and neither overflows nor cuts off far out', async () => {
    const x = [-1e4, -3, -1, -0.5, 0, 0.5, 1, 3, 1e4]
    const expected = x.map((z) => 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3))))
    for (const engine of [cpu, onnx]) {
      const { y } = await runOnce(engine, { x: floats([9], x) }, (t) => ({ y: gelu(t['x']!) }))
      expectClose(y!.subarray(0, 8), expected.slice(0, 8), { absolute: 1e-6 }, engine.name)
      expectClose(y!.subarray(8), [1e4], { relative: 1e-6 }, engine.name)
    }
  })

  it('has its slope at zero, next to it, and far out', async () => {
    const x = [-1e4, -40, -12, -9, -6, -4, -1e-6, -1e-30, 0, 1e-30, 1e-6, 4, 6, 9, 12, 40, 1e4]
    const slope = (t: Tensors) => ({ dx: tf.grad((z) => gelu(z))(t['x']!) })
    const expected = x.map((z) => {
      const u = Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3))
      return 0.5 * (1 + u) + 0.5 * z * (1 - u * u) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * z * z)
    })
    for (const engine of [cpu, onnx]) {
      const { dx } = await runOnce(engine, { x: floats([x.length], x) }, slope)
      expectClose(dx!, expected, { absolute: 5e-6 }, engine.name)
    }
  })
})

describe('attention', () => {
  it('never lets a token see a later one', async () => {
    const qkv = normal('qkv', [6, 12])
    const later = { ...qkv, values: qkv.values.map((value, i) => (i < 4 * 12 ? value : value + 3)) }
    for (const engine of [cpu, onnx]) {
      const [before, after] = await Promise.all(
        [qkv, later].map((input) =>
          runOnce(engine, { qkv: input }, (t) => ({
            y: attention(t['qkv'] as tf.Tensor2D, { batch: 1, heads: 2 }),
          })),
        ),
      )
      expectClose(after!['y']!.subarray(0, 16), before!['y']!.subarray(0, 16), {}, engine.name)
      expect(after!['y']!.subarray(16)).not.toEqual(before!['y']!.subarray(16))
    }
  })

  it('keeps sequences of a batch apart', async () => {
    const both = normal('qkv', [8, 6])
    const second = floats([4, 6], both.values.subarray(24))
    for (const engine of [cpu, onnx]) {
      const run = (qkv: typeof both, batch: number) =>
        runOnce(engine, { qkv }, (t) => ({ y: attention(t['qkv'] as tf.Tensor2D, { batch, heads: 1 }) }))
      const [together, alone] = [await run(both, 2), await run(second, 1)]
      expectClose(together['y']!.subarray(8), alone['y']!, { relative: 1e-6 }, engine.name)
    }
  })

  it('masks by the length of each when a step has two of different lengths', async () => {
    const inputs = { short: normal('short', [5, 6]), long: normal('long', [9, 6]) }
    const both = (t: Tensors) => ({
      short: attention(t['short'] as tf.Tensor2D, { batch: 1, heads: 1 }),
      long: attention(t['long'] as tf.Tensor2D, { batch: 1, heads: 1 }),
    })
    const expected = await runOnce(cpu, inputs, both)
    const actual = await runOnce(onnx, inputs, both)
    for (const name of ['short', 'long'])
      expectClose(actual[name]!, expected[name]!, { relative: 2e-6 }, name)
  })
})

describe('topSelection', () => {
  const logits = floats(
    [5, 4],
    [
      [0, 3, 1, 2],
      [5, 5, 1, 0],
      [1, 1, 1, 1],
      [-1, -2, -2, -2],
      [0, 7, 0, 7],
    ].flat(),
  )

  it.each([
    ['cpu', cpu],
    ['onnx', onnx],
  ] as const)('takes the best, ties to the lower index, on %s', async (_, engine) => {
    const results = await runOnce(engine, { logits }, (t) => {
      const [first, second] = topSelection(t['logits'] as tf.Tensor2D, 2)
      return { first: first!, second: second! }
    })
    const chosen = (one: Float32Array) =>
      Array.from({ length: 5 }, (_, row) => [...one.subarray(row * 4, row * 4 + 4)].indexOf(1))
    expect(chosen(results['first']!)).toEqual([1, 0, 0, 0, 1])
    expect(chosen(results['second']!)).toEqual([3, 1, 1, 1, 3])
    for (const one of Object.values(results)) expect(one.reduce((sum, x) => sum + x, 0)).toBe(5)
  })

  it('has a gradient of zero', async () => {
    for (const engine of [cpu, onnx]) {
      const { gradient } = await runOnce(engine, { logits }, (t) => ({
        gradient: tf.grad((x: tf.Tensor) => tf.sum(topSelection(x as tf.Tensor2D, 2)[1]!))(t['logits']!),
      }))
      expect([...gradient!]).toEqual(new Array(20).fill(0))
    }
  })
})

describe('headCrossEntropy', () => {
  /** Loss and gradients in double precision. */
  function plain(x: Float32Array, w: Float32Array, targets: ArrayLike<number>, weights: Float32Array) {
    const [N, C, V] = [targets.length, x.length / targets.length, (w.length * targets.length) / x.length]
    const dX = new Float64Array(N * C)
    const dW = new Float64Array(V * C)
    let loss = 0
    for (let i = 0; i < N; i++) {
      const logits = Float64Array.from({ length: V }, (_, v) => {
        let sum = 0
        for (let c = 0; c < C; c++) sum += x[i * C + c]! * w[v * C + c]!
        return sum
      })
      const max = logits.reduce((a, b) => Math.max(a, b))
      const normaliser = max + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - max), 0))
      loss += weights[i]! * (normaliser - logits[targets[i]!]!)
      for (let v = 0; v < V; v++) {
        const slope = weights[i]! * (Math.exp(logits[v]! - normaliser) - Number(v === targets[i]))
        for (let c = 0; c < C; c++) {
          dX[i * C + c]! += slope * w[v * C + c]!
          dW[v * C + c]! += slope * x[i * C + c]!
        }
      }
    }
    return { result: [loss], 'd x': dX, 'd w': dW }
  }

  const inputsOf = (x: ReturnType<typeof normal>, w: ReturnType<typeof normal>, weights: number[]) => ({
    x,
    w,
    targets: ints([weights.length], randomInts('targets', weights.length, w.shape[0]!)),
    weights: floats([weights.length], weights),
  })

  const all = (t: Tensors) => {
    const [x, w] = [t['x']!, t['w']!]
    const [dx, dw] = tf.grads((x: tf.Tensor, w: tf.Tensor) => head({ ...t, x, w }, true, true))([x, w])
    return { result: head(t, true, true), 'd x': dx!, 'd w': dw! }
  }

  // The lowering works on 2^21 logits at a time.
  it.each([
    ['chunks of three rows and one', 4, 2 ** 21 / 3 - 1],
    ['chunks of two rows and one', 5, 2 ** 20 - 3],
    ['one chunk that is just full', 3, Math.floor(2 ** 21 / 3)],
    ['rows longer than a chunk', 2, 2 ** 21 + 5],
  ])('is right in %s', async (_, N, vocabulary) => {
    const V = Math.floor(vocabulary)
    const inputs = inputsOf(normal('x', [N, 2]), normal('w', [V, 2]), [1, 0.5, 0, 2, 0.25].slice(0, N))
    const expected = plain(inputs.x.values, inputs.w.values, inputs.targets.values, inputs.weights.values)
    const actual = await runOnce(onnx, inputs, all)
    expectClose(actual['result']!, expected.result, { relative: 1e-6 }, 'loss')
    // A sum of millions of terms in single precision.
    expectClose(actual['d x']!, expected['d x'], { relative: 3e-4 }, 'd x')
    expectClose(actual['d w']!, expected['d w'], { relative: 1e-5 }, 'd w')
    const evaluated = await runOnce(onnx, inputs, (t) => ({ loss: head(t, false, false) }))
    expectClose(evaluated['loss']!, expected.result, { relative: 1e-6 }, 'loss without gradients')
  })

  it.each([
    ['cpu', cpu],
    ['onnx', onnx],
  ] as const)('stays finite and right where logits are hundreds of nats apart, on %s', async (_, engine) => {
    const inputs = inputsOf(normal('x', [6, 3], 20), normal('w', [11, 3], 20), [1, 1, 1, 1, 1, 1])
    const expected = plain(inputs.x.values, inputs.w.values, inputs.targets.values, inputs.weights.values)
    expect(expected.result[0]! / 6).toBeGreaterThan(200)
    const actual = await runOnce(engine, inputs, all)
    const evaluated = await runOnce(engine, inputs, (t) => ({ loss: head(t, false, false) }))
    expectClose(evaluated['loss']!, expected.result, { relative: 1e-6 }, 'loss without gradients')
    expectClose(actual['result']!, expected.result, { relative: 1e-6 }, 'loss')
    expectClose(actual['d x']!, expected['d x'], { relative: 1e-5 }, 'd x')
    expectClose(actual['d w']!, expected['d w'], { relative: 1e-5 }, 'd w')
  })

  it('gives nothing for a token of weight zero', async () => {
    const inputs = inputsOf(normal('x', [3, 4]), normal('w', [5, 4]), [0, 1, 0])
    for (const engine of [cpu, onnx]) {
      const actual = await runOnce(engine, inputs, all)
      expect([...actual['d x']!.subarray(0, 4), ...actual['d x']!.subarray(8)].map(Math.abs)).toEqual(
        new Array(8).fill(0),
      )
    }
  })
})
