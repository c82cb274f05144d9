import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { loraScale, type MixtureConfig } from '../src/config.ts'
import type { HostTensor } from '../src/engine/engine.ts'
import { mixtureMlp, route } from '../src/mixture.ts'
import { gelu } from '../src/ops/gelu.ts'
import { gemm } from '../src/ops/gemm.ts'
import { expertPrefix, routerName } from '../src/parameters.ts'
import { floats, normal } from './helpers/arrays.ts'
import { expectClose } from './helpers/compare.ts'
import { fileEngine, runOnce, type Tensors } from './helpers/engines.ts'
import { mixtureOf } from './helpers/models.ts'

const [N, C, F] = [7, 5, 11]
const cpu = await fileEngine('cpu')
const onnx = await fileEngine('onnx')
const ENGINES = [
  ['cpu', cpu],
  ['onnx', onnx],
] as const

function mlpInputs({ experts, rank }: MixtureConfig): Record<string, HostTensor> {
  const shapes: Record<string, number[]> = {
    x: [N, C],
    'h.0.mlp.c_fc.weight': [C, F],
    'h.0.mlp.c_fc.bias': [F],
    'h.0.mlp.c_proj.weight': [F, C],
    'h.0.mlp.c_proj.bias': [C],
    [routerName(0)]: [C, experts],
  }
  for (let e = 0; e < experts; e++) {
    shapes[`${expertPrefix(0, e)}.c_fc.lora_A`] = [C, rank]
    shapes[`${expertPrefix(0, e)}.c_fc.lora_B`] = [rank, F]
    shapes[`${expertPrefix(0, e)}.c_proj.lora_A`] = [F, rank]
    shapes[`${expertPrefix(0, e)}.c_proj.lora_B`] = [rank, C]
  }
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, normal(name, shape, name === 'x' ? 1 : 0.4)]),
  )
}

const ours = (t: Tensors, mixture: MixtureConfig) =>
  mixtureMlp(t['x'] as tf.Tensor2D, {
    layer: 0,
    trained: (name) => t[name]!,
    mixture,
    linear: (x, part) => gemm(x, t[`h.0.mlp.${part}.weight`]!, { c: t[`h.0.mlp.${part}.bias`] }),
    inner: ['c_fc'],
    activate: ([z]) => gelu(z!),
    outer: 'c_proj',
  })

/** Every expert as a whole MLP of its own, `[N, C]` each. */
function wholeExperts(t: Tensors, mixture: MixtureConfig): tf.Tensor2D[] {
  const weight = (name: string, expert: string) =>
    tf.add(
      t[`${name}.weight`]!,
      tf.mul(tf.matMul(t[`${expert}.lora_A`]!, t[`${expert}.lora_B`]!), loraScale(mixture)),
    )
  return Array.from({ length: mixture.experts }, (_, e) => {
    const prefix = expertPrefix(0, e)
    const inner = tf.matMul(t['x']!, weight('h.0.mlp.c_fc', `${prefix}.c_fc`))
    const hidden = gelu(tf.add(inner, t['h.0.mlp.c_fc.bias']!))
    const outer = tf.matMul(hidden, weight('h.0.mlp.c_proj', `${prefix}.c_proj`))
    return tf.add<tf.Tensor2D>(outer, t['h.0.mlp.c_proj.bias']!)
  })
}

/** What each expert counts for each token, `[N][n]`, in plain JavaScript. */
function plainGates(logits: readonly number[][], { experts, routing }: MixtureConfig): number[][] {
  return logits.map((row) => {
    if (routing === 'mean') return row.map(() => 1 / experts)
    const kept = bestTwo(row)
    const total = kept.reduce((sum, e) => sum + Math.exp(row[e]!), 0)
    return row.map((logit, e) => (kept.includes(e) ? Math.exp(logit) / total : 0))
  })
}

const bestTwo = (row: readonly number[]): number[] =>
  row
    .map((_, e) => e)
    .sort((a, b) => row[b]! - row[a]! || a - b)
    .slice(0, 2)

const rowsOf = (flat: ArrayLike<number>, width: number): number[][] =>
  Array.from({ length: flat.length / width }, (_, i) => Array.from(flat).slice(i * width, (i + 1) * width))

describe.each(ENGINES)('mixtureMlp on %s', (_, engine) => {
  it.each([
    [1, 'router'],
    [2, 'router'],
    [3, 'router'],
    [4, 'router'],
    [8, 'router'],
    [1, 'mean'],
    [2, 'mean'],
    [3, 'mean'],
    [4, 'mean'],
    [8, 'mean'],
  ] as const)('is the mixture of %i whole experts, routing by %s', async (n, routing) => {
    const mixture = mixtureOf(n, routing)
    const inputs = mlpInputs(mixture)
    const naive = await runOnce(cpu, inputs, (t) => ({
      experts: tf.stack(wholeExperts(t, mixture)),
      logits: tf.matMul(t['x']!, t[routerName(0)]!),
    }))
    const gates = plainGates(rowsOf(naive['logits']!, n), mixture)
    const expected = Array.from({ length: N * C }, (_, i) =>
      gates[Math.floor(i / C)]!.reduce((sum, gate, e) => sum + gate * naive['experts']![e * N * C + i]!, 0),
    )
    const { out } = await runOnce(engine, inputs, (t) => ({ out: ours(t, mixture).out }))
    expectClose(out!, expected, { relative: 2e-6 })
  })

  it.each([1, 2, 3, 4])('is the base alone while B is zero, with %i experts', async (n) => {
    const mixture = mixtureOf(n)
    const inputs = Object.fromEntries(
      Object.entries(mlpInputs(mixture)).map(([name, one]) => [
        name,
        name.endsWith('lora_B')
          ? floats(
              one.shape,
              one.values.map(() => 0),
            )
          : one,
      ]),
    )
    const base = await runOnce(cpu, inputs, (t) => ({ out: ours(t, mixtureOf(0)).out }))
    const { out } = await runOnce(engine, inputs, (t) => ({ out: ours(t, mixture).out }))
    expectClose(out!, base['out']!, { relative: 1e-6 })
  })
})

describe.each(ENGINES)('route on %s', (_, engine) => {
  /** The logits are the router's weights themselves: x is the identity. */
  async function routed(logits: number[][]): Promise<Record<string, Float32Array>> {
    const n = logits[0]!.length
    const size = logits.length
    const identity = floats(
      [size, size],
      Array.from({ length: size * size }, (_, i) => Number(i % (size + 1) === 0)),
    )
    const inputs = { x: identity, weight: floats([size, n], logits.flat()) }
    return runOnce(engine, inputs, ({ x, weight }) => {
      const { scores, selection, gates, balance } = route(x as tf.Tensor2D, weight as tf.Tensor2D)
      const gradient = tf.grad((w: tf.Tensor) => route(x as tf.Tensor2D, w as tf.Tensor2D).balance)
      return {
        scores,
        balance,
        gates: tf.concat([...gates], 1),
        ...(selection === undefined
          ? {}
          : { selection: tf.concat([...selection], 1), gradient: gradient(weight!) }),
      }
    })
  }

  const LOGITS = [
    [0.1, 2, -1, 0.5],
    [3, -2, 1, 1],
    [0, 0, 0, 0],
    [-1, -1, -1, 4],
    [1, 5, 5, 5],
  ]

  it('sends a token to its two best experts, ties to the lower index', async () => {
    const { selection } = await routed(LOGITS)
    const slots = rowsOf(selection!, 8).map((row) => [row.slice(0, 4).indexOf(1), row.slice(4).indexOf(1)])
    expect(slots).toEqual([
      [1, 3],
      [0, 2],
      [0, 1],
      [3, 0],
      [1, 2],
    ])
  })

  it('weighs the two by softmax over their logits alone', async () => {
    const { gates } = await routed(LOGITS)
    const expected = LOGITS.flatMap((row) => {
      const [first, second] = bestTwo(row).map((e) => Math.exp(row[e]!)) as [number, number]
      return [first / (first + second), second / (first + second)]
    })
    expectClose(gates!, expected, { absolute: 1e-6 })
  })

  it('scores every expert by softmax over all logits', async () => {
    const { scores } = await routed(LOGITS)
    const expected = LOGITS.flatMap((row) => {
      const total = row.reduce((sum, logit) => sum + Math.exp(logit), 0)
      return row.map((logit) => Math.exp(logit) / total)
    })
    expectClose(scores!, expected, { absolute: 1e-6 })
  })

  it.each([
    [1, 2],
    [2, 1],
  ])('balances %i experts at a constant %i', async (n, constant) => {
    const { balance, gates, scores } = await routed(LOGITS.map((row) => row.slice(0, n)))
    expectClose(balance!, [constant], { absolute: 1e-6 })
    expectClose(gates!, scores!, {})
  })

  /** n² mean_j c_j f_j P_j, slot for slot and token for token. */
  function plainBalance(logits: readonly number[][]): number {
    const n = logits[0]!.length
    const slots = logits.flatMap(bestTwo)
    const terms = Array.from({ length: n }, (_, j) => {
      const cost = j === 0 ? 1 / (0.5 * n) : (n - 1) / (1 - 0.5) / n
      const share = slots.filter((e) => e === j).length / slots.length
      const gates = logits.map((row) => {
        const zeroed = row.map((logit, e) => (bestTwo(row).includes(e) ? logit : 0))
        const total = zeroed.reduce((sum, logit) => sum + Math.exp(logit), 0)
        return Math.exp(zeroed[j]!) / total
      })
      return cost * share * (gates.reduce((sum, gate) => sum + gate, 0) / logits.length)
    })
    return (n * n * terms.reduce((sum, term) => sum + term, 0)) / n
  }

  it('balances four experts as the formula says where logits tie', async () => {
    const { balance } = await routed(LOGITS)
    expectClose(balance!, [plainBalance(LOGITS)], { relative: 1e-6 })
  })

  it.each([3, 4, 8])('balances %i experts as the formula says, gradient included', async (n) => {
    const logits = rowsOf(normal('logits', [6, n], 1.5).values, n)
    const moved = (token: number, expert: number, by: number) =>
      logits.map((row, i) => (i === token ? row.map((logit, e) => (e === expert ? logit + by : logit)) : row))
    const slope = (token: number, expert: number) =>
      (plainBalance(moved(token, expert, 1e-5)) - plainBalance(moved(token, expert, -1e-5))) / 2e-5
    const { balance, gradient } = await routed(logits)
    expectClose(balance!, [plainBalance(logits)], { relative: 1e-6 })
    const slopes = logits.flatMap((row, token) => row.map((_, expert) => slope(token, expert)))
    expectClose(gradient!, slopes, { relative: 1e-5 })
  })

  it('has a balance without a gradient while every expert gets every token', async () => {
    const x = normal('x', [4, 3])
    for (const n of [1, 2]) {
      const inputs = { x, weight: normal('weight', [3, n]) }
      const { gradient } = await runOnce(engine, inputs, ({ x, weight }) => ({
        gradient: tf.grad((w: tf.Tensor) => {
          const { balance, scores } = route(x as tf.Tensor2D, w as tf.Tensor2D)
          // tfjs wants the result to depend on w at all.
          return tf.add(balance, tf.mul(tf.sum(scores), 0))
        })(weight!),
      }))
      expect([...gradient!].map(Math.abs)).toEqual(new Array(3 * n).fill(0))
    }
  })
})
