import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { lower } from '../src/engine/onnx/lower.ts'
import { ModelProto } from '../src/engine/onnx/pb/onnx.ts'
import { gemm } from '../src/ops/gemm.ts'
import { floats, ints, normal } from './helpers/arrays.ts'
import { expectClose } from './helpers/compare.ts'
import { type Build, fileEngine, type HostTensors, runOnce } from './helpers/engines.ts'
import { recorded } from './helpers/graphs.ts'

const x = floats([3], [1, -2, 3])
const cpu = await fileEngine('cpu')
const onnx = await fileEngine('onnx')

describe('lowering', () => {
  it.each<[string, HostTensors, Build]>([
    ['an output that is an input', { x }, (t) => ({ y: t['x']! })],
    ['an output that is an input of the same name', { x }, (t) => ({ x: tf.clone(t['x']!) })],
    ['an output under the name of an input', { x }, (t) => ({ x: tf.neg(t['x']!) })],
    ['outputs that swap the names of inputs', { x, z: x }, (t) => ({ x: t['z']!, z: tf.neg(t['x']!) })],
    ['an output that is a constant', { x }, () => ({ y: tf.tensor1d([4, 5]) })],
    ['an output that is an integer constant', { x }, () => ({ y: tf.tensor1d([4, 5], 'int32') })],
    [
      'an output that is a long constant',
      { x },
      () => ({ y: tf.tensor1d(Array.from({ length: 40 }, (_, i) => i)) }),
    ],
    [
      'the same value under two names',
      { x },
      (t) => {
        const y = tf.neg(t['x']!)
        return { one: y, other: y }
      },
    ],
    [
      'the same value under two names, read by something else',
      { x },
      (t) => {
        const y = tf.neg(t['x']!)
        return { one: y, other: y, third: tf.exp(y) }
      },
    ],
    ['the same input under two names', { x }, (t) => ({ one: t['x']!, other: t['x']! })],
    [
      'the same constant under two names',
      { x },
      () => {
        const y = tf.tensor1d([1, 2])
        return { one: y, other: y }
      },
    ],
    [
      'a value and a reshaped view of it',
      { x },
      (t) => ({ one: t['x']!, other: tf.reshape(t['x']!, [3, 1]) }),
    ],
    [
      'several outputs of one node',
      { x: normal('x', [4, 2]) },
      (t) => {
        const [first, second] = tf.split(t['x']!, 2)
        return { second: second!, first: first! }
      },
    ],
    ['an input that nothing reads', { x, unread: x }, (t) => ({ y: tf.neg(t['x']!) })],
    [
      'short constants that differ in shape only',
      { x: normal('x', [2, 2]) },
      (t) => ({
        row: tf.add(t['x']!, tf.tensor2d([1, 2], [1, 2])),
        column: tf.add(t['x']!, tf.tensor2d([1, 2], [2, 1])),
      }),
    ],
    [
      'short constants that differ in type only',
      { x, i: ints([2], [5, 6]) },
      (t) => ({
        float: tf.add(tf.slice(t['x']!, [0], [2]), tf.tensor1d([1, 2])),
        int: tf.add(t['i']!, tf.tensor1d([1, 2], 'int32')),
      }),
    ],
    [
      'short constants that differ in the sign of a zero only',
      { x },
      (t) => {
        const side = (zero: number) =>
          tf.minimum(5, tf.maximum(-5, tf.div(t['x']!, tf.tensor1d([zero, 1, 2]))))
        return { above: side(0), below: side(-0) }
      },
    ],
    [
      'outputs named as the lowering names its own values',
      { x },
      (t) => {
        const first = tf.neg(t['x']!)
        const second = tf.exp(first)
        return { t0: second, t1: first, k0: tf.add(first, 7), k1: tf.mul(second, 3) }
      },
    ],
    ['outputs named with other letters', { x }, (t) => ({ 'h.0/ü "x"': tf.neg(t['x']!) })],
    [
      'a product with a constant addend',
      { x: normal('x', [2, 2]) },
      (t) => ({ y: gemm(t['x']!, t['x']!, { c: tf.tensor1d([1, 2]) }) }),
    ],
  ])('keeps %s', async (_, inputs, build) => {
    const expected = await runOnce(cpu, inputs, build)
    const actual = await runOnce(onnx, inputs, build)
    expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort())
    for (const [name, values] of Object.entries(expected))
      expectClose(actual[name]!, values, { relative: 1e-6 }, name)
  })

  it('asks for the inputs that are read, and for no others', () => {
    const graph = recorded({ x, unread: x }, (t) => ({ y: tf.neg(t['x']!) }))
    const { inputs, outputs } = lower('test', graph)
    expect(inputs).toEqual(['x'])
    expect(outputs).toEqual(['y'])
  })

  it('lists the nodes of a large step last things first', () => {
    const graph = recorded({ x }, (t) => ({ y: tf.exp(tf.neg(t['x']!)) }))
    const operators = (isLarge: boolean) =>
      ModelProto.decode(lower('test', graph, { isLarge }).bytes).graph!.node.map(({ opType }) => opType)
    expect(operators(false)).toEqual(['Neg', 'Exp'])
    expect(operators(true)).toEqual(['Exp', 'Neg'])
  })

  it('makes the same bytes every time', () => {
    const bytes = () =>
      lower(
        'test',
        recorded({ x }, (t) => ({ y: tf.exp(tf.neg(t['x']!)) })),
      ).bytes
    expect(bytes()).toEqual(bytes())
  })
})
