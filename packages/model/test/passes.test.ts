import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import type { Graph } from '../src/engine/graph.ts'
import {
  dropDead,
  dropNeutral,
  fuseAddIntoGemm,
  mergeEqual,
  recompute,
  simplify,
} from '../src/engine/passes.ts'
import { lower } from '../src/engine/onnx/lower.ts'
import { ModelProto } from '../src/engine/onnx/pb/onnx.ts'
import { record } from '../src/engine/recorder.ts'
import { gemm } from '../src/ops/gemm.ts'
import { EXPERTS, expertStep, routerStep } from '../src/steps.ts'
import { normal, randomInts } from './helpers/arrays.ts'
import { expectClose } from './helpers/compare.ts'
import type { Build, HostTensors, Tensors } from './helpers/engines.ts'
import { kernelsOf, recorded, runGraph } from './helpers/graphs.ts'
import { mixtureOf, shapeOf, TINY, tinyBase } from './helpers/models.ts'

type Pass = (graph: Graph) => Graph

const inputs = {
  x: normal('x', [3, 4]),
  y: normal('y', [3, 4]),
  row: normal('row', [4]),
  a: normal('a', [3, 2]),
  b: normal('b', [2, 4]),
}

/** Kernels that a pass leaves; what they compute must be what the recorded ones do. */
async function after(pass: Pass, build: Build, given: HostTensors = inputs): Promise<string[]> {
  const expected = await runGraph(recorded(given, build), given)
  const graph = pass(recorded(given, build))
  const actual = await runGraph(graph, given)
  expect(Object.keys(actual)).toEqual(Object.keys(expected))
  for (const [name, values] of Object.entries(expected))
    expectClose(actual[name]!, values, { relative: 1e-6 }, name)
  return kernelsOf(graph)
}

const one =
  (build: (t: Tensors) => tf.Tensor): Build =>
  (t) => ({ result: build(t) })

describe('dropDead', () => {
  it('removes what no output needs, and what only that needs', async () => {
    const build = one(({ x }) => {
      tf.exp(tf.neg(x!))
      return tf.square(x!)
    })
    expect(await after((graph) => graph, build)).toEqual(['Neg', 'Exp', 'Square'])
    expect(await after(dropDead, build)).toEqual(['Square'])
  })

  it('keeps a node of which one output is read', async () => {
    expect(
      await after(
        dropDead,
        one(({ x }) => tf.split(x!, 2, 1)[1]!),
      ),
    ).toEqual(['SplitV'])
  })
})

describe('dropNeutral', () => {
  it.each<[string, (t: Tensors) => tf.Tensor]>([
    ['x · 1', ({ x }) => tf.mul(x!, 1)],
    ['1 · x', ({ x }) => tf.mul(1, x!)],
    ['x · ones', ({ x }) => tf.mul(x!, tf.onesLike(x!))],
    ['x · a row of ones', ({ x }) => tf.mul(x!, tf.ones([4]))],
    ['x + 0', ({ x }) => tf.add(x!, 0)],
    ['0 + x', ({ x }) => tf.add(tf.scalar(0), x!)],
    ['x + zeros', ({ x }) => tf.add(x!, tf.zerosLike(x!))],
    ['(x · 1 + 0) · 1', ({ x }) => tf.mul(tf.add(tf.mul(x!, 1), 0), 1)],
  ])('removes %s', async (_, build) => {
    expect(
      await after(
        dropNeutral,
        one((t) => tf.neg(build(t))),
      ),
    ).toEqual(['Neg'])
  })

  it.each<[string, (t: Tensors) => tf.Tensor, string]>([
    ['x · 0', ({ x }) => tf.mul(x!, 0), 'Multiply'],
    ['x + 1', ({ x }) => tf.add(x!, 1), 'Add'],
    ['x · (1, 1, 2, 1)', ({ x }) => tf.mul(x!, tf.tensor1d([1, 1, 2, 1])), 'Multiply'],
    ['a row · ones that make it a matrix', ({ row }) => tf.mul(row!, tf.ones([3, 4])), 'Multiply'],
    ['zeros that make a row a matrix', ({ row }) => tf.add(tf.zeros([3, 4]), row!), 'Add'],
    ['x - 0', ({ x }) => tf.sub(x!, 0), 'Sub'],
  ])('keeps %s', async (_, build, kernel) => {
    expect(
      await after(
        dropNeutral,
        one((t) => tf.neg(build(t))),
      ),
    ).toEqual([kernel, 'Neg'])
  })

  it('hands an input through that an output was a neutral product of', async () => {
    expect(
      await after(
        dropNeutral,
        one(({ x }) => tf.mul(x!, 1)),
      ),
    ).toEqual([])
  })
})

describe('mergeEqual', () => {
  it('computes the same once, and then what follows from it', async () => {
    const build = one(({ x }) => tf.add(tf.exp(tf.neg(x!)), tf.exp(tf.neg(x!))))
    expect(await after(mergeEqual, build)).toEqual(['Neg', 'Exp', 'Add'])
  })

  it('merges nodes of several outputs, each with its own twin', async () => {
    const build = one(({ x }) => tf.concat([tf.split(x!, 2, 1)[1]!, tf.split(x!, 2, 1)[0]!], 1))
    expect(await after(mergeEqual, build)).toEqual(['SplitV', 'Concat'])
  })

  it('merges values that are outputs', async () => {
    expect(await after(mergeEqual, ({ x }) => ({ one: tf.neg(x!), other: tf.neg(x!) }))).toEqual(['Neg'])
  })

  it.each<[string, (t: Tensors) => tf.Tensor, string[]]>([
    ['other attributes', ({ x }) => tf.add(tf.sum(x!, 1, true), tf.sum(x!, 0)), ['Sum', 'Sum', 'Add']],
    ['other inputs', ({ x, y }) => tf.add(tf.neg(x!), tf.neg(y!)), ['Neg', 'Neg', 'Add']],
    ['inputs in another order', ({ x, y }) => tf.add(tf.sub(x!, y!), tf.sub(y!, x!)), ['Sub', 'Sub', 'Add']],
  ])('keeps nodes apart that have %s', async (_, build, kernels) => {
    expect(await after(mergeEqual, one(build))).toEqual(kernels)
  })

  it('keeps padding with one infinity apart from padding with the other', () => {
    const border: [number, number][] = [
      [0, 0],
      [0, 1],
    ]
    const pad = (x: tf.Tensor, value: number) => tf.pad(x, border, value)
    const graph = recorded(inputs, ({ x }) => ({ above: pad(x!, Infinity), below: pad(x!, -Infinity) }))
    expect(kernelsOf(mergeEqual(graph))).toEqual(['PadV2', 'PadV2'])
  })
})

describe('fuseAddIntoGemm', () => {
  it.each<[string, (t: Tensors) => tf.Tensor]>([
    ['on the right', ({ x, a, b }) => tf.add(x!, gemm(a!, b!))],
    ['on the left', ({ x, a, b }) => tf.add(gemm(a!, b!), x!)],
    ['that is scaled', ({ x, a, b }) => tf.add(x!, gemm(a!, b!, { alpha: -0.7 }))],
    ['that is transposed', ({ x, a, b }) => tf.add(x!, gemm(tf.transpose(a!), b!, { transposeA: true }))],
  ])('accumulates into a product %s', async (_, build) => {
    const kernels = await after(fuseAddIntoGemm, one(build))
    expect(kernels.filter((kernel) => kernel !== 'Transpose')).toEqual(['comigs.Gemm'])
  })

  it('accumulates a chain of products', async () => {
    const build = one(({ x, a, b }) =>
      tf.add(tf.add(x!, gemm(a!, b!)), gemm(tf.square(a!), b!, { alpha: 2 })),
    )
    expect(await after(fuseAddIntoGemm, build)).toEqual(['comigs.Gemm', 'Square', 'comigs.Gemm'])
  })

  it('waits for an addend that is made after the product', async () => {
    const build = one(({ x, a, b }) => {
      const product = gemm(a!, b!)
      return tf.add(product, tf.exp(x!))
    })
    expect(await after(fuseAddIntoGemm, build)).toEqual(['Exp', 'comigs.Gemm'])
  })

  it('keeps what reads the sum, under its name', async () => {
    const build: Build = ({ x, a, b }) => {
      const sum = tf.add(x!, gemm(a!, b!))
      return { sum, more: tf.neg(sum) }
    }
    expect(await after(fuseAddIntoGemm, build)).toEqual(['comigs.Gemm', 'Neg'])
  })

  it.each<[string, Build, string[]]>([
    [
      'whose product something else reads',
      ({ x, a, b }) => {
        const product = gemm(a!, b!)
        return { result: tf.mul(tf.add(x!, product), product) }
      },
      ['comigs.Gemm', 'Add', 'Multiply'],
    ],
    [
      'whose product is an output',
      ({ x, a, b }) => {
        const product = gemm(a!, b!)
        return { product, result: tf.add(x!, product) }
      },
      ['comigs.Gemm', 'Add'],
    ],
    [
      'of a product with itself',
      ({ a, b }) => {
        const product = gemm(a!, b!)
        return { result: tf.add(product, product) }
      },
      ['comigs.Gemm', 'Add'],
    ],
    [
      'whose product has an addend already',
      ({ x, y, a, b }) => ({ result: tf.add(x!, gemm(a!, b!, { c: y! })) }),
      ['comigs.Gemm', 'Add'],
    ],
    ['that broadcasts', ({ row, a, b }) => ({ result: tf.add(row!, gemm(a!, b!)) }), ['comigs.Gemm', 'Add']],
    ['of no product', ({ x, y }) => ({ result: tf.add(x!, y!) }), ['Add']],
  ])('leaves a sum %s', async (_, build, kernels) => {
    expect(await after(fuseAddIntoGemm, build)).toEqual(kernels)
  })
})

describe('simplify', () => {
  const feeds = (graph: Graph): HostTensors => {
    const base = new Map(tinyBase().arrays.map((array) => [`base/${array.name}`, array]))
    return Object.fromEntries(
      graph.inputs.map((input) => {
        const name = input.origin.kind === 'input' ? input.origin.name : ''
        const size = input.shape.reduce((n, d) => n * d, 1)
        const values =
          input.dtype === 'int32'
            ? randomInts(name, size, TINY.vocabSize)
            : (base.get(name)?.values ?? normal(name, input.shape, 0.1).values.map(Math.abs))
        return [name, { shape: input.shape, dtype: input.dtype, values }]
      }),
    )
  }

  /** Records a step anew each time: passes redirect the inputs of the nodes that they are given. */
  function traced(n: number, step: typeof expertStep): () => Graph {
    const shape = shapeOf(mixtureOf(n))
    const { build, inputs: given, reads } = step(shape)
    const layoutOf = (name: string) => (name.startsWith(EXPERTS) ? shape.layout.experts : shape.layout.router)
    const base = new Map(tinyBase().arrays.map((array) => [`base/${array.name}`, array.shape]))
    const specs = {
      ...given,
      ...Object.fromEntries(
        reads.map((name) => [
          name,
          { shape: base.get(name) ?? [layoutOf(name).size], dtype: 'float32' as const },
        ]),
      ),
    }
    return () => record('test', specs, build)
  }

  async function expectSameResults(graph: Graph, whole: Graph): Promise<void> {
    const values = feeds(whole)
    const expected = await runGraph(whole, values)
    const actual = await runGraph(graph, values)
    expect(Object.keys(actual)).toEqual(Object.keys(expected))
    for (const [name, one] of Object.entries(expected))
      expectClose(actual[name]!, one, { relative: 1e-5 }, name)
  }

  const STEPS = [
    [1, expertStep],
    [2, expertStep],
    [4, expertStep],
    [2, routerStep],
    [4, routerStep],
  ] as const

  it.each(STEPS)(
    'of a training step with %i experts leaves fewer nodes and the same result',
    async (n, step) => {
      const trace = traced(n, step)
      const small = simplify(trace())
      expect(small.nodes.length).toBeLessThan(trace().nodes.length)
      await expectSameResults(small, trace())
    },
  )

  it.each(STEPS)(
    'of a training step with %i experts makes activations again for the gradients',
    async (n, step) => {
      const trace = traced(n, step)
      const kept = simplify(trace())
      const again = recompute(simplify(trace()), 0)
      const activations = (graph: Graph) => kernelsOf(graph).filter((kernel) => kernel === 'comigs.Gelu')
      const inBoth = TINY.layers * Math.min(n, 2)
      expect(activations(kept)).toHaveLength(inBoth)
      expect(activations(again)).toHaveLength(2 * inBoth)
      const loss = again.nodes.findIndex(({ kernel }) => kernel === 'comigs.HeadCrossEntropy')
      const forward = new Set(again.nodes.slice(0, loss))
      const keptForGradients = again.nodes
        .slice(loss)
        .flatMap(({ inputs }) => Object.values(inputs))
        .flatMap(({ origin }) => (origin.kind === 'node' && forward.has(origin.node) ? [origin.node] : []))
      expect(keptForGradients.map(({ kernel }) => kernel)).not.toContain('comigs.Gelu')
      const inner = new Set(
        keptForGradients.filter(
          ({ kernel, outputs }) => kernel === 'comigs.Gemm' && outputs[0]!.shape[1] === TINY.hidden,
        ),
      )
      // Of all experts' inner layers only the frozen part that they share.
      expect(inner.size).toBe(TINY.layers)
      await expectSameResults(again, trace())
    },
  )

  it.each(STEPS)('of a training step with %i experts leaves no node that nobody reads', (n, step) => {
    // ONNX Runtime makes what such a node waits for first: a gpt2-shaped step once took 400 MB more.
    const graph = recompute(simplify(traced(n, step)()), 0)
    const { node, output } = ModelProto.decode(lower('test', graph, { isLarge: true }).bytes).graph!
    const read = new Set([...node.flatMap(({ input }) => input), ...output.map(({ name }) => name)])
    const unread = node.filter((one) => !one.output.some((name) => read.has(name)))
    expect(unread.map(({ name }) => name)).toEqual([])
  })

  it.each(STEPS)(
    'of a training step with %i experts writes down each shape that is only known when it runs',
    (n, step) => {
      // Behind one that is not, ONNX Runtime writes nothing in the place of what is no longer needed.
      const graph = recompute(simplify(traced(n, step)()), 0)
      const { node, initializer, valueInfo } = ModelProto.decode(
        lower('test', graph, { isLarge: true }).bytes,
      ).graph!
      const fixed = new Set(initializer.map(({ name }) => name))
      const known = new Set(valueInfo.map(({ name }) => name))
      const late = node.filter(
        ({ opType, input }) => (opType === 'Reshape' || opType === 'Slice') && !fixed.has(input[1]!),
      )
      expect(late.length).toBeGreaterThan(0)
      expect(late.filter(({ output }) => !known.has(output[0]!)).map(({ name }) => name)).toEqual([])
    },
  )

  it('of a large step keeps activations that are few', () => {
    const activations = kernelsOf(simplify(traced(2, expertStep)(), true)).filter(
      (kernel) => kernel === 'comigs.Gelu',
    )
    expect(activations).toHaveLength(2 * TINY.layers)
  })
})
