import * as tf from '@tensorflow/tfjs-core'
import { keyShape, type MixtureConfig, type ModelConfig } from './config.ts'
import type { Step } from './engine/engine.ts'
import type { TensorSpec } from './engine/graph.ts'
import { ModelError } from './errors.ts'
import { forward } from './forward.ts'
import type { Weights } from './lora.ts'
import type { Routed } from './mixture.ts'
import { attentionToPast } from './ops/attention.ts'
import { adamw, type AdamWOptions } from './ops/adamw.ts'
import { gemm } from './ops/gemm.ts'
import { headCrossEntropy } from './ops/head-cross-entropy.ts'
import { baseLayout, type Layout, type TrainedLayout } from './parameters.ts'

/** Arrays in engine memory. Trained parameters and their moments are flat (see Layout). */
export const EXPERTS = 'experts'
export const ROUTER = 'router'
export const moments = (group: string): [string, string] => [`${group}.first`, `${group}.second`]
export const baseArray = (name: string): string => `base/${name}`

/** Optimiser constants of the authors' scripts. */
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

/** @throws ModelError `OPTION_INVALID` when the base has no positions for so long a sequence */
function batchInputs({
  model,
  batch,
  context,
}: Pick<StepShape, 'model' | 'batch' | 'context'>): Record<string, TensorSpec> {
  if (context > model.positions) {
    const expected = `at most ${model.positions}, the longest sequence of the base`
    throw new ModelError({ code: 'OPTION_INVALID', option: '--context', value: String(context), expected })
  }
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
export const expertStep = (shape: StepShape): Step => trainingStep('expert step', shape, [EXPERTS])

/** One AdamW step on the routers, on validation tokens; the experts are frozen (upper level). */
export const routerStep = (shape: StepShape): Step => trainingStep('router step', shape, [ROUTER])

/** One AdamW step on everything at once, as other mixtures of experts are trained (pFedMoE, paper, section 4.2). */
export const jointStep = (shape: StepShape): Step => trainingStep('joint step', shape, [EXPERTS, ROUTER])

export type TrainedGroup = typeof EXPERTS | typeof ROUTER

/** Gradients of a group that steps of the other have left behind. */
export const leaked = (group: string): string => `${group}.leaked`

/**
 * A step of the authors' public code, in which an optimiser zeroes only the gradients of its own parameters: what
 * back-propagation makes for the other group stays there, piles up, and goes into that group's next step, so that experts
 * learn from validation text, too. Only to compare with what was published.
 */
export const leakyStep = (shape: StepShape, group: TrainedGroup): Step =>
  trainingStep(`leaky step on ${group}`, shape, [group], true)

function trainingStep(name: string, shape: StepShape, trained: readonly TrainedGroup[], leaks = false): Step {
  const { layout, model, mixture, batch } = shape
  const layouts: Record<TrainedGroup, Layout> = { [EXPERTS]: layout.experts, [ROUTER]: layout.router }
  const groups: TrainedGroup[] = layout.router.size > 0 ? [EXPERTS, ROUTER] : [EXPERTS]
  const differentiated = leaks ? groups : trained
  const state = [...trained.flatMap(moments), ...(leaks ? groups.map(leaked) : [])]
  return {
    name,
    reads: [...baseNames(model), ...groups, ...state],
    writes: [...trained, ...state],
    inputs: { ...batchInputs(shape), ...optimiserInputs },
    build: (t) => {
      const pieces: Record<string, tf.Tensor> = {}
      for (const key of groups) Object.assign(pieces, split(layouts[key], t[key]!))
      const names = differentiated.flatMap((key) => layouts[key].entries.map((entry) => entry.name))
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
      const updated: Record<string, tf.Tensor> = {}
      let done = 0
      for (const key of differentiated) {
        const { length } = layouts[key].entries
        const fresh = flatten(grads.slice(done, done + length))
        const gradient = leaks ? tf.add<tf.Tensor1D>(fresh, t[leaked(key)]!) : fresh
        done += length
        if (trained.includes(key)) Object.assign(updated, update(t, key, gradient))
        if (leaks) updated[leaked(key)] = trained.includes(key) ? tf.zerosLike(gradient) : gradient
      }
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
      ...batchInputs({ model, batch, context }),
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
  const { model, mixture, batch, context } = shape
  const { reads, pieces } = frozen(shape)
  return {
    name: 'evaluation',
    reads,
    writes: [],
    inputs: { ...batchInputs(shape), weights: { shape: [batch * context], dtype: 'float32' } },
    build: (t) => {
      const trained = pieces(t)
      const out = forward({
        model,
        mixture,
        base: (key) => t[baseArray(key)]!,
        trained: (key) => trained[key]!,
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

export interface DecodeShape extends Pick<StepShape, 'model' | 'mixture' | 'layout'> {
  /** New tokens of one run, S. */
  readonly tokens: number
  /** Rows for tokens that came before, P. */
  readonly past: number
}

/** Input of `decodeStep`: keys or values of a layer's past, `[K, P, D]`. */
export const pastInput = (part: 'keys' | 'values', layer: number): string => `${part}.${layer}`

/**
 * The next S tokens of a text, given keys and values of all before: `logits` `[1, V]` and router `scores` `[layers, n]`
 * after the token in row `last`, and `present`, the new keys and values, `[layers, 2, K, S, D]`. The past is an input, not
 * an array in engine memory: an engine on the CPU reads it where it lies, nothing is copied from token to token, and one
 * program serves any number of texts.
 */
export function decodeStep(shape: DecodeShape): Step {
  const { model, mixture, tokens: S, past: P } = shape
  const { heads, width } = keyShape(model)
  const { reads, pieces } = frozen(shape)
  const row: TensorSpec = { shape: [S], dtype: 'int32' }
  const cache: TensorSpec = { shape: [heads, P, width], dtype: 'float32' }
  const caches = Array.from({ length: model.layers }, (_, layer) => [
    [pastInput('keys', layer), cache] as const,
    [pastInput('values', layer), cache] as const,
  ]).flat()
  return {
    name: `decode ${S} after ${P}`,
    reads,
    writes: [],
    isAwaited: true,
    inputs: {
      tokens: row,
      positions: row,
      last: { shape: [1], dtype: 'int32' },
      mask: { shape: [P], dtype: 'float32' },
      ...Object.fromEntries(caches),
    },
    build: (t) => {
      const trained = pieces(t)
      const present: tf.Tensor3D[] = []
      const out = forward({
        model,
        mixture,
        base: (key) => t[baseArray(key)]!,
        trained: (key) => trained[key]!,
        tokens: t['tokens'] as tf.Tensor1D,
        batch: 1,
        positions: { ids: t['positions'] as tf.Tensor1D, end: P },
        attend: (qkv, layer) => {
          const { out, keys, values } = attentionToPast(qkv, {
            keys: t[pastInput('keys', layer)] as tf.Tensor3D,
            values: t[pastInput('values', layer)] as tf.Tensor3D,
            mask: t['mask'] as tf.Tensor1D,
          })
          present.push(keys, values)
          return out
        },
      })
      const last = t['last'] as tf.Tensor1D
      const logits = gemm(tf.gather(out.hidden, last), out.head, { transposeB: true })
      const result = { logits, present: tf.stack(present) }
      const scores = () => tf.concat(out.routed.map((one) => tf.gather(one.scores, last)))
      return out.routed.length === 0 ? result : { ...result, scores: scores() }
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

/** What a step that trains nothing reads, and the trained arrays in it by name. */
function frozen({ model, mixture, layout }: Pick<StepShape, 'model' | 'mixture' | 'layout'>) {
  const groups = [
    { key: EXPERTS, layout: layout.experts },
    { key: ROUTER, layout: layout.router },
  ].filter((group) => mixture.experts > 0 && group.layout.size > 0)
  return {
    reads: [...baseNames(model), ...groups.map(({ key }) => key)],
    pieces: (t: Readonly<Record<string, tf.Tensor>>): Record<string, tf.Tensor> =>
      Object.assign({}, ...groups.map((group) => split(group.layout, t[group.key]!))) as Record<
        string,
        tf.Tensor
      >,
  }
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
