import * as tf from '@tensorflow/tfjs-core'
import type { MixtureConfig, ModelConfig } from './config.ts'
import type { Step } from './engine/engine.ts'
import type { TensorSpec } from './engine/graph.ts'
import { forward } from './forward.ts'
import type { Weights } from './lora.ts'
import type { Routed } from './mixture.ts'
import { adamw, type AdamWOptions } from './ops/adamw.ts'
import { gemm } from './ops/gemm.ts'
import { headCrossEntropy } from './ops/head-cross-entropy.ts'
import { baseLayout, type Layout, type TrainedLayout } from './parameters.ts'

/** Arrays in engine memory. Trained parameters and their moments are flat (see Layout). */
export const EXPERTS = 'experts'
export const ROUTER = 'router'
export const moments = (group: string): [string, string] => [`${group}.first`, `${group}.second`]
export const baseArray = (name: string): string => `base/${name}`

/** Optimiser constants of the authors' scripts (reference: comigs, 1.2). */
export const ADAMW: AdamWOptions = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 }

export interface StepShape {
  readonly model: ModelConfig
  readonly mixture: MixtureConfig
  readonly layout: TrainedLayout
  /** Sequences in a batch, B. */
  readonly batch: number
  /** Tokens of a sequence, T. */
  readonly context: number
  /** Factor of the load-balancing loss, lambda. */
  readonly balance: number
}

const scalar: TensorSpec = { shape: [], dtype: 'float32' }

function batchInputs({ batch, context }: Pick<StepShape, 'batch' | 'context'>): Record<string, TensorSpec> {
  const rows = [batch * context]
  return { tokens: { shape: rows, dtype: 'int32' }, targets: { shape: rows, dtype: 'int32' } }
}

const optimiserInputs: Record<string, TensorSpec> = {
  learningRate: scalar,
  correction: { shape: [2], dtype: 'float32' },
  decay: scalar,
}

/**
 * One AdamW step on generalist and specialists, on train tokens; the routers are frozen (lower level of the bi-level
 * problem, paper, section 3.3).
 */
export const expertStep = (shape: StepShape): Step => trainingStep('expert step', shape, EXPERTS)

/** One AdamW step on the routers, on validation tokens; the experts are frozen (upper level). */
export const routerStep = (shape: StepShape): Step => trainingStep('router step', shape, ROUTER)

function trainingStep(name: string, shape: StepShape, group: typeof EXPERTS | typeof ROUTER): Step {
  const { layout, model, mixture, batch } = shape
  const [first, second] = moments(group)
  const groups = layout.router.size > 0 ? [EXPERTS, ROUTER] : [EXPERTS]
  return {
    name,
    reads: [...baseNames(model), ...groups, first, second],
    writes: [group, first, second],
    inputs: { ...batchInputs(shape), ...optimiserInputs },
    build: (t) => {
      const pieces: Record<string, tf.Tensor> = {}
      for (const key of groups)
        Object.assign(pieces, split(key === EXPERTS ? layout.experts : layout.router, t[key]!))
      const trainedLayout = group === EXPERTS ? layout.experts : layout.router
      const names = trainedLayout.entries.map((entry) => entry.name)
      const tokens = t['tokens'] as tf.Tensor1D
      const weights: tf.Tensor1D = tf.fill([tokens.shape[0]], 1 / tokens.shape[0])
      let loss!: tf.Tensor
      let scores: tf.Tensor | undefined
      const { grads } = tf.valueAndGrads((...parameters: tf.Tensor[]) => {
        const own = Object.fromEntries(names.map((key, i) => [key, parameters[i]!]))
        const out = forward({
          model,
          mixture,
          base: (key) => t[baseArray(key)]!,
          trained: (key) => own[key] ?? pieces[key]!,
          tokens,
          batch,
        })
        const entropy = headCrossEntropy(out.hidden, out.head, t['targets'] as tf.Tensor1D, weights, {
          gradX: true,
          gradW: false,
        })
        loss = tf.keep(tf.clone(entropy))
        scores = out.routed.length === 0 ? undefined : tf.keep(routerShares(out.routed))
        if (out.routed.length === 0 || mixture.experts <= 2) return entropy
        const balance = tf.mean(tf.stack(out.routed.map((one) => one.balance)))
        return tf.add<tf.Scalar>(entropy, tf.mul(balance, shape.balance))
      })(names.map((key) => pieces[key]!))
      const updated = update(t, group, flatten(grads))
      return { loss: release(loss), ...(scores === undefined ? {} : { scores: release(scores) }), ...updated }
    },
  }
}

export interface PretrainShape {
  readonly model: ModelConfig
  readonly batch: number
  readonly context: number
}

export const BASE = 'base'

/** One AdamW step on every parameter of the base. Matrices decay, gains, biases do not (GPT-2 practice). */
export function pretrainStep({ model, batch, context }: PretrainShape): Step {
  const layout = baseLayout(model)
  const [first, second] = moments(BASE)
  return {
    name: 'pretrain step',
    reads: [BASE, first, second],
    writes: [BASE, first, second],
    inputs: {
      ...batchInputs({ batch, context }),
      ...optimiserInputs,
      decay: { shape: [layout.size], dtype: 'float32' },
    },
    build: (t) => {
      const pieces = split(layout, t[BASE]!)
      const names = layout.entries.map((entry) => entry.name)
      const tokens = t['tokens'] as tf.Tensor1D
      const weights: tf.Tensor1D = tf.fill([tokens.shape[0]], 1 / tokens.shape[0])
      let loss!: tf.Tensor
      const { grads } = tf.valueAndGrads((...parameters: tf.Tensor[]) => {
        const own = Object.fromEntries(names.map((key, i) => [key, parameters[i]!]))
        const out = forward({
          model,
          mixture: NO_EXPERTS,
          base: (key) => own[key]!,
          trained: none,
          tokens,
          batch,
        })
        const entropy = headCrossEntropy(out.hidden, out.head, t['targets'] as tf.Tensor1D, weights, {
          gradX: true,
          gradW: true,
        })
        loss = tf.keep(tf.clone(entropy))
        return entropy
      })(names.map((key) => pieces[key]!))
      return { loss: release(loss), ...update(t, BASE, flatten(grads)) }
    },
  }
}

/** Sums over weighted targets: negative log-likelihood, and each router's scores `[layers, n]`. Changes nothing. */
export function evaluationStep(shape: Omit<StepShape, 'balance'>): Step {
  const { layout, model, mixture, batch, context } = shape
  const groups = mixture.experts === 0 ? [] : layout.router.size > 0 ? [EXPERTS, ROUTER] : [EXPERTS]
  return {
    name: 'evaluation',
    reads: [...baseNames(model), ...groups],
    writes: [],
    inputs: { ...batchInputs(shape), weights: { shape: [batch * context], dtype: 'float32' } },
    build: (t) => {
      const pieces: Record<string, tf.Tensor> = {}
      for (const key of groups)
        Object.assign(pieces, split(key === EXPERTS ? layout.experts : layout.router, t[key]!))
      const out = forward({
        model,
        mixture,
        base: (key) => t[baseArray(key)]!,
        trained: (key) => pieces[key]!,
        tokens: t['tokens'] as tf.Tensor1D,
        batch,
      })
      const targets = t['targets'] as tf.Tensor1D
      const loss = headCrossEntropy(out.hidden, out.head, targets, t['weights'] as tf.Tensor1D, {
        gradX: false,
        gradW: false,
      })
      const counted = tf.expandDims(t['weights'] as tf.Tensor1D, 1)
      const sums = () => tf.stack(out.routed.map((one) => tf.sum(tf.mul(one.scores, counted), 0)))
      return out.routed.length === 0 ? { loss } : { loss, scores: sums() }
    },
  }
}

/** Logits of one sequence's chosen position: input `position` picks the row. */
export function nextTokenStep(shape: Omit<StepShape, 'balance' | 'batch'>): Step {
  const { layout, model, mixture, context } = shape
  const groups = mixture.experts === 0 ? [] : layout.router.size > 0 ? [EXPERTS, ROUTER] : [EXPERTS]
  return {
    name: 'next token',
    reads: [...baseNames(model), ...groups],
    writes: [],
    inputs: { tokens: { shape: [context], dtype: 'int32' }, position: { shape: [1], dtype: 'int32' } },
    build: (t) => {
      const pieces: Record<string, tf.Tensor> = {}
      for (const key of groups)
        Object.assign(pieces, split(key === EXPERTS ? layout.experts : layout.router, t[key]!))
      const out = forward({
        model,
        mixture,
        base: (key) => t[baseArray(key)]!,
        trained: (key) => pieces[key]!,
        tokens: t['tokens'] as tf.Tensor1D,
        batch: 1,
      })
      const position = t['position'] as tf.Tensor1D
      const last = tf.gather(out.hidden, position) // [1, C]
      const shares = out.routed.map((one) => tf.gather(one.scores, position)) // [1, n] each
      const logits = gemm(last, out.head, { transposeB: true })
      return shares.length === 0 ? { logits } : { logits, scores: tf.concat(shares, 0) }
    },
  }
}

/** The base alone. */
export const NO_EXPERTS: MixtureConfig = { experts: 0, rank: 1, alpha: 1, routing: 'mean' }

const none: Weights = (name) => {
  throw new Error(`the base alone has no parameter ${name}`)
}

function baseNames(model: ModelConfig): string[] {
  return baseLayout(model).entries.map((entry) => baseArray(entry.name))
}

/** Flat array -> the arrays in it, by name. */
function split(layout: Layout, flat: tf.Tensor): Record<string, tf.Tensor> {
  const pieces = tf.split(
    flat,
    layout.entries.map((entry) => entry.size),
  )
  return Object.fromEntries(
    layout.entries.map((entry, i) => [entry.name, tf.reshape(pieces[i]!, [...entry.shape])]),
  )
}

function flatten(grads: readonly tf.Tensor[]): tf.Tensor1D {
  return tf.concat(grads.map((grad) => tf.reshape(grad, [grad.size])))
}

function update(
  t: Readonly<Record<string, tf.Tensor>>,
  group: string,
  gradient: tf.Tensor1D,
): Record<string, tf.Tensor> {
  const [first, second] = moments(group)
  const state = {
    parameters: t[group] as tf.Tensor1D,
    first: t[first] as tf.Tensor1D,
    second: t[second] as tf.Tensor1D,
  }
  const next = adamw(state, gradient, t['learningRate']!, t['correction'] as tf.Tensor1D, t['decay']!, ADAMW)
  return { [group]: next.parameters, [first]: next.first, [second]: next.second }
}

/** Mean score per layer and expert, `[layers, n]`. */
function routerShares(routed: readonly Routed[]): tf.Tensor {
  return tf.stack(routed.map((one) => tf.mean(one.scores, 0)))
}

/** Hands a tensor that was kept through a gradient scope back to the enclosing tidy. */
function release(tensor: tf.Tensor): tf.Tensor {
  const copy = tf.clone(tensor)
  tensor.dispose()
  return copy
}
