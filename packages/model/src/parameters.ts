import type { Gpt2Config, LlamaConfig, MixtureConfig, ModelConfig } from './config.ts'
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
export interface Layout<S extends ParameterSpec = ParameterSpec> {
  readonly entries: readonly (S & { readonly offset: number; readonly size: number })[]
  readonly size: number
}

export function layoutOf<S extends ParameterSpec>(specs: readonly S[]): Layout<S> {
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

/** A frozen linear layer that LoRA is put on. */
interface Linear {
  readonly name: string
  readonly fanIn: number
  readonly fanOut: number
}

/** The linear layers of a block (paper, appendix B: all of them). */
function linears(model: ModelConfig): { attention: Linear[]; mlp: Linear[] } {
  const { width: C, hidden: F, heads } = model
  const linear = (name: string, fanIn: number, fanOut: number): Linear => ({ name, fanIn, fanOut })
  if (model.architecture === 'gpt2') {
    return {
      attention: [linear('c_attn', C, 3 * C), linear('c_proj', C, C)],
      mlp: [linear('c_fc', C, F), linear('c_proj', F, C)],
    }
  }
  const [queries, keys] = [heads * model.headWidth, model.kvHeads * model.headWidth]
  return {
    attention: [
      linear('q_proj', C, queries),
      linear('k_proj', C, keys),
      linear('v_proj', C, keys),
      linear('o_proj', queries, C),
    ],
    mlp: [linear('gate_proj', C, F), linear('up_proj', C, F), linear('down_proj', F, C)],
  }
}

/** A frozen linear layer and the LoRA on it. */
export interface AdaptedLinear {
  /** The layer's name in the base, without `.weight`. */
  readonly module: string
  readonly part: 'attention' | 'mlp'
  /** The LoRA's name, without `.lora_A`; attention's is the same for every expert. */
  lora(expert: number): string
}

/** All that LoRA is put on, layer by layer. */
export function adaptedLinears(model: ModelConfig): AdaptedLinear[] {
  const block = linears(model)
  const gpt2 = model.architecture === 'gpt2'
  const one = (layer: number): AdaptedLinear[] => [
    ...block.attention.map(({ name }) => ({
      module: gpt2 ? `h.${layer}.attn.${name}` : `model.layers.${layer}.self_attn.${name}`,
      part: 'attention' as const,
      lora: () => `${attentionPrefix(layer)}.${name}`,
    })),
    ...block.mlp.map(({ name }) => ({
      module: gpt2 ? `h.${layer}.mlp.${name}` : `model.layers.${layer}.mlp.${name}`,
      part: 'mlp' as const,
      lora: (expert: number) => `${expertPrefix(layer, expert)}.${name}`,
    })),
  ]
  return Array.from({ length: model.layers }, (_, layer) => one(layer)).flat()
}

/**
 * LoRA on every linear of attention and, per expert, on every linear of the MLP; a router per layer (paper, section 3
 * and appendix B). A is stored `[in, r]`, B `[r, out]`, the router `[C, n]`.
 */
export function trainedLayout(model: ModelConfig, mixture: MixtureConfig): TrainedLayout {
  const { width: C, layers } = model
  const all = Array.from({ length: layers }, (_, layer) => layer)
  const pair =
    (prefix: string) =>
    ({ name, fanIn, fanOut }: Linear): ParameterSpec[] => [
      // Kaiming uniform with a = sqrt(5), as PEFT and the authors' code: U(-1/sqrt(in), 1/sqrt(in)).
      {
        name: `${prefix}.${name}.lora_A`,
        shape: [fanIn, mixture.rank],
        init: { kind: 'uniform', bound: 1 / Math.sqrt(fanIn) },
      },
      { name: `${prefix}.${name}.lora_B`, shape: [mixture.rank, fanOut], init: { kind: 'zeros' } },
    ]
  const block = linears(model)
  const attention = (layer: number) => block.attention.flatMap(pair(attentionPrefix(layer)))
  const expert = (layer: number, e: number) => block.mlp.flatMap(pair(expertPrefix(layer, e)))
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

/** A parameter of a base. */
export interface BaseSpec extends ParameterSpec {
  /**
   * Set on matrices that may be kept in fewer bytes: the axis of their outputs. Not on the head (and what is tied to it):
   * a step would unpack it whole when its memory is fullest.
   */
  readonly outputs?: 0 | 1
}

/** The base's own parameters under Hugging Face's names, without a prefix, with the initialisation of the GPT-2 paper. */
export function baseLayout(model: ModelConfig): Layout<BaseSpec> {
  return layoutOf(model.architecture === 'gpt2' ? gpt2Parameters(model) : llamaParameters(model))
}

const DEVIATION = 0.02
/** Residual projections start smaller by 1/sqrt(2 layers) (GPT-2 paper, section 2.3). */
const residual = ({ layers }: ModelConfig): number => DEVIATION / Math.sqrt(2 * layers)

const zeros = (name: string, shape: number[]): BaseSpec => ({ name, shape, init: { kind: 'zeros' } })
const ones = (name: string, shape: number[]): BaseSpec => ({ name, shape, init: { kind: 'ones' } })
const normal = (name: string, shape: number[], outputs?: 0 | 1, deviation = DEVIATION): BaseSpec => ({
  name,
  shape,
  init: { kind: 'normal', deviation },
  ...(outputs === undefined ? {} : { outputs }),
})

function gpt2Parameters(model: Gpt2Config): BaseSpec[] {
  const { width: C, hidden: F, layers } = model
  const block = (i: number): BaseSpec[] => [
    ones(`h.${i}.ln_1.weight`, [C]),
    zeros(`h.${i}.ln_1.bias`, [C]),
    normal(`h.${i}.attn.c_attn.weight`, [C, 3 * C], 1),
    zeros(`h.${i}.attn.c_attn.bias`, [3 * C]),
    normal(`h.${i}.attn.c_proj.weight`, [C, C], 1, residual(model)),
    zeros(`h.${i}.attn.c_proj.bias`, [C]),
    ones(`h.${i}.ln_2.weight`, [C]),
    zeros(`h.${i}.ln_2.bias`, [C]),
    normal(`h.${i}.mlp.c_fc.weight`, [C, F], 1),
    zeros(`h.${i}.mlp.c_fc.bias`, [F]),
    normal(`h.${i}.mlp.c_proj.weight`, [F, C], 1, residual(model)),
    zeros(`h.${i}.mlp.c_proj.bias`, [C]),
  ]
  return [
    normal('wte.weight', [model.vocabSize, C]), // the head, too
    normal('wpe.weight', [model.positions, C]),
    ...Array.from({ length: layers }, (_, i) => block(i)).flat(),
    ones('ln_f.weight', [C]),
    zeros('ln_f.bias', [C]),
  ]
}

function llamaParameters(model: LlamaConfig): BaseSpec[] {
  const { width: C, layers, vocabSize } = model
  const { attention, mlp } = linears(model)
  const linear = (prefix: string, { name, fanIn, fanOut }: Linear): BaseSpec => {
    const deviation = name === 'o_proj' || name === 'down_proj' ? residual(model) : DEVIATION
    return normal(`${prefix}.${name}.weight`, [fanOut, fanIn], 0, deviation)
  }
  const block = (i: number): BaseSpec[] => [
    ones(`model.layers.${i}.input_layernorm.weight`, [C]),
    ...attention.map((one) => linear(`model.layers.${i}.self_attn`, one)),
    ones(`model.layers.${i}.post_attention_layernorm.weight`, [C]),
    ...mlp.map((one) => linear(`model.layers.${i}.mlp`, one)),
  ]
  return [
    normal('model.embed_tokens.weight', [vocabSize, C], model.tied ? undefined : 0),
    ...Array.from({ length: layers }, (_, i) => block(i)).flat(),
    ones('model.norm.weight', [C]),
    ...(model.tied ? [] : [normal('lm_head.weight', [vocabSize, C])]),
  ]
}
