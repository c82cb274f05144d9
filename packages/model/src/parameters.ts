import type { MixtureConfig, ModelConfig } from './config.ts'
import { sizeOf } from './engine/graph.ts'
import { fillNormal, fillUniform, stream } from './random.ts'

/** A plain named array: what this package and the protocol exchange. */
export interface NamedArray {
  readonly name: string
  readonly shape: readonly number[]
  readonly values: Float32Array
}

export interface ParameterSpec {
  readonly name: string
  readonly shape: readonly number[]
  readonly init:
    | { readonly kind: 'zeros' }
    | { readonly kind: 'ones' }
    | { readonly kind: 'uniform'; readonly bound: number }
    | { readonly kind: 'normal'; readonly deviation: number }
}

/** Parameters that live side by side in one flat array, so that an optimiser step is a dozen operators, not thousands. */
export interface Layout {
  readonly entries: readonly (ParameterSpec & { readonly offset: number; readonly size: number })[]
  readonly size: number
}

export function layoutOf(specs: readonly ParameterSpec[]): Layout {
  let offset = 0
  const entries = specs.map((spec) => {
    const size = sizeOf(spec.shape)
    const entry = { ...spec, offset, size }
    offset += size
    return entry
  })
  return { entries, size: offset }
}

/** Views, not copies, of the arrays inside a flat one. */
export function namedArrays(layout: Layout, flat: Float32Array): NamedArray[] {
  return layout.entries.map(({ name, shape, offset, size }) => ({
    name,
    shape,
    values: flat.subarray(offset, offset + size),
  }))
}

/**
 * Draws initial values. Each array has a random stream of its own, named after it, so that adding an expert or changing
 * the order changes no other array.
 */
export function initialise(layout: Layout, seed: number): Float32Array {
  const flat = new Float32Array(layout.size)
  for (const { name, values } of namedArrays(layout, flat)) {
    const { init } = layout.entries.find((entry) => entry.name === name)!
    if (init.kind === 'ones') values.fill(1)
    if (init.kind === 'uniform') fillUniform(values, init.bound, stream(seed, name))
    if (init.kind === 'normal') fillNormal(values, init.deviation, stream(seed, name))
  }
  return flat
}

/** What a peer trains beside the frozen base, by who may see it and what it is trained on. */
export interface TrainedLayout {
  /** Trained on the train split: first everything that is shared, then everything that never leaves the peer. */
  readonly experts: Layout
  /** How many leading elements of `experts` are shared: attention LoRA and expert 0 (paper, section 3.1). */
  readonly sharedSize: number
  /** Trained on the validation split; private. Empty where there is nothing to route. */
  readonly router: Layout
}

export const expertPrefix = (layer: number, expert: number): string => `h.${layer}.mlp.experts.${expert}`
export const attentionPrefix = (layer: number): string => `h.${layer}.attn`
export const routerName = (layer: number): string => `h.${layer}.mlp.router.weight`

/**
 * LoRA on both linears of attention and, per expert, on both linears of the MLP; a router per layer (paper, section 3
 * and appendix B). A is stored `[in, r]`, B `[r, out]`, the router `[C, n]`.
 */
export function trainedLayout(model: ModelConfig, mixture: MixtureConfig): TrainedLayout {
  const { width: C, hidden: F, layers } = model
  const all = Array.from({ length: layers }, (_, layer) => layer)
  const pair = (name: string, fanIn: number, fanOut: number): ParameterSpec[] => [
    // Kaiming uniform with a = sqrt(5), as PEFT and the authors' code: U(-1/sqrt(in), 1/sqrt(in)).
    {
      name: `${name}.lora_A`,
      shape: [fanIn, mixture.rank],
      init: { kind: 'uniform', bound: 1 / Math.sqrt(fanIn) },
    },
    { name: `${name}.lora_B`, shape: [mixture.rank, fanOut], init: { kind: 'zeros' } },
  ]
  const attention = (layer: number) => [
    ...pair(`${attentionPrefix(layer)}.c_attn`, C, 3 * C),
    ...pair(`${attentionPrefix(layer)}.c_proj`, C, C),
  ]
  const expert = (layer: number, e: number) => [
    ...pair(`${expertPrefix(layer, e)}.c_fc`, C, F),
    ...pair(`${expertPrefix(layer, e)}.c_proj`, F, C),
  ]
  const router = (layer: number): ParameterSpec => ({
    name: routerName(layer),
    shape: [C, mixture.experts],
    init: { kind: 'normal', deviation: 0.02 },
  })
  const specialists = Array.from({ length: Math.max(0, mixture.experts - 1) }, (_, e) => e + 1)
  const shared =
    mixture.experts === 0 ? [] : all.flatMap((layer) => [...attention(layer), ...expert(layer, 0)])
  const personal = specialists.flatMap((e) => all.flatMap((layer) => expert(layer, e)))
  const routed = mixture.experts > 1 && mixture.routing === 'router'
  return {
    experts: layoutOf([...shared, ...personal]),
    sharedSize: layoutOf(shared).size,
    router: layoutOf(routed ? all.map(router) : []),
  }
}

/** The base's own parameters under Hugging Face's names for GPT-2, with the initialisation of the GPT-2 paper. */
export function baseLayout(model: ModelConfig): Layout {
  const { width: C, hidden: F, layers } = model
  const normal = (name: string, shape: number[], deviation = 0.02): ParameterSpec => ({
    name,
    shape,
    init: { kind: 'normal', deviation },
  })
  const zeros = (name: string, shape: number[]): ParameterSpec => ({ name, shape, init: { kind: 'zeros' } })
  const ones = (name: string): ParameterSpec => ({ name, shape: [C], init: { kind: 'ones' } })
  // Residual projections start smaller by 1/sqrt(2 layers) (GPT-2 paper, section 2.3).
  const residual = 0.02 / Math.sqrt(2 * layers)
  const block = (i: number): ParameterSpec[] => [
    ones(`h.${i}.ln_1.weight`),
    zeros(`h.${i}.ln_1.bias`, [C]),
    normal(`h.${i}.attn.c_attn.weight`, [C, 3 * C]),
    zeros(`h.${i}.attn.c_attn.bias`, [3 * C]),
    normal(`h.${i}.attn.c_proj.weight`, [C, C], residual),
    zeros(`h.${i}.attn.c_proj.bias`, [C]),
    ones(`h.${i}.ln_2.weight`),
    zeros(`h.${i}.ln_2.bias`, [C]),
    normal(`h.${i}.mlp.c_fc.weight`, [C, F]),
    zeros(`h.${i}.mlp.c_fc.bias`, [F]),
    normal(`h.${i}.mlp.c_proj.weight`, [F, C], residual),
    zeros(`h.${i}.mlp.c_proj.bias`, [C]),
  ]
  return layoutOf([
    normal('wte.weight', [model.vocabSize, C]),
    normal('wpe.weight', [model.positions, C]),
    ...Array.from({ length: layers }, (_, i) => block(i)).flat(),
    ones('ln_f.weight'),
    zeros('ln_f.bias', [C]),
  ])
}
