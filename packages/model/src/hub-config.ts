import { join } from 'node:path'
import { z } from 'zod'
import type { Gpt2Config, LlamaConfig, ModelConfig, RopeConfig } from './config.ts'
import { ModelError } from './errors.ts'
import { readJson } from './files.ts'

// What we do not compute is refused by its field's name: z.literal(...) and `absent` below.

const positive = z.number().int().positive()
const absent = z.null('is not supported').optional()

const gpt2Schema = z.object({
  model_type: z.literal('gpt2'),
  vocab_size: positive,
  n_positions: positive,
  n_embd: positive,
  n_layer: positive,
  n_head: positive,
  n_inner: positive.nullish(),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  activation_function: z.enum(['gelu_new', 'gelu_pytorch_tanh']).default('gelu_new'),
  scale_attn_weights: z.literal(true).default(true),
  scale_attn_by_inverse_layer_idx: z.literal(false).default(false),
  reorder_and_upcast_attn: z.boolean().default(false),
  tie_word_embeddings: z.literal(true).default(true),
  add_cross_attention: z.literal(false).default(false),
  quantization_config: absent,
})

const ropeSchema = z.object({
  rope_type: z.enum(['default', 'linear', 'llama3']).optional(),
  /** What it was called before. */
  type: z.enum(['default', 'linear', 'llama3']).optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().min(1).optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: positive.optional(),
  partial_rotary_factor: z.literal(1).default(1),
})

const llamaSchema = z.object({
  model_type: z.literal('llama'),
  vocab_size: positive,
  max_position_embeddings: positive.default(2048),
  hidden_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  num_key_value_heads: positive.nullish(),
  head_dim: positive.multipleOf(2).nullish(),
  intermediate_size: positive,
  rms_norm_eps: z.number().positive().default(1e-6),
  hidden_act: z.enum(['silu', 'swish']).default('silu'),
  attention_bias: z.literal(false).default(false),
  mlp_bias: z.literal(false).default(false),
  tie_word_embeddings: z.boolean().default(false),
  rope_theta: z.number().positive().optional(),
  rope_scaling: ropeSchema.nullish(),
  /** Both of the above, since transformers 5. */
  rope_parameters: ropeSchema.nullish(),
  sliding_window: absent,
  quantization_config: absent,
})

const FAMILIES: Readonly<Record<string, (raw: unknown) => ModelConfig>> = { gpt2, llama }

/** A field that is right by itself and wrong beside another. */
class FieldError extends Error {
  readonly field: string
  constructor(field: string, reason: string) {
    super(reason)
    this.field = field
  }
}

/**
 * Reads a Hugging Face `config.json`.
 * @throws ModelError `ARCHITECTURE_UNSUPPORTED`, `CONFIG_INVALID` with the field
 */
export async function readConfig(folder: string): Promise<ModelConfig> {
  const path = join(folder, 'config.json')
  const raw = ((await readJson(path)) ?? {}) as { model_type?: unknown; architectures?: unknown }
  const family = FAMILIES[String(raw.model_type)]
  if (family === undefined) {
    const named = Array.isArray(raw.architectures) ? String(raw.architectures[0]) : String(raw.model_type)
    throw new ModelError({ code: 'ARCHITECTURE_UNSUPPORTED', path, architecture: named })
  }
  try {
    return family(raw)
  } catch (error) {
    const invalid = (field: string, reason: string) =>
      new ModelError({ code: 'CONFIG_INVALID', path, field, reason }, { cause: error })
    if (error instanceof FieldError) throw invalid(error.field, error.message)
    if (!(error instanceof z.ZodError)) throw error
    const issue = error.issues[0]!
    throw invalid(issue.path.join('.'), issue.message.toLowerCase())
  }
}

function gpt2(raw: unknown): Gpt2Config {
  const c = gpt2Schema.parse(raw)
  if (c.n_embd % c.n_head !== 0) throw new FieldError('n_head', `must divide n_embd (${c.n_embd})`)
  return {
    architecture: 'gpt2',
    vocabSize: c.vocab_size,
    positions: c.n_positions,
    width: c.n_embd,
    layers: c.n_layer,
    heads: c.n_head,
    hidden: c.n_inner ?? 4 * c.n_embd,
    epsilon: c.layer_norm_epsilon,
  }
}

function llama(raw: unknown): LlamaConfig {
  const c = llamaSchema.parse(raw)
  const kvHeads = c.num_key_value_heads ?? c.num_attention_heads
  if (c.num_attention_heads % kvHeads !== 0)
    throw new FieldError('num_key_value_heads', `must divide num_attention_heads (${c.num_attention_heads})`)
  const headWidth = c.head_dim ?? c.hidden_size / c.num_attention_heads
  if (!Number.isInteger(headWidth / 2))
    throw new FieldError('num_attention_heads', `must divide hidden_size (${c.hidden_size}) into even parts`)
  return {
    architecture: 'llama',
    vocabSize: c.vocab_size,
    positions: c.max_position_embeddings,
    width: c.hidden_size,
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    kvHeads,
    headWidth,
    hidden: c.intermediate_size,
    epsilon: c.rms_norm_eps,
    rope: rope(c),
    tied: c.tie_word_embeddings,
  }
}

function rope(c: z.infer<typeof llamaSchema>): RopeConfig {
  const [name, parameters] = c.rope_parameters
    ? (['rope_parameters', c.rope_parameters] as const)
    : (['rope_scaling', c.rope_scaling ?? {}] as const)
  const theta = parameters.rope_theta ?? c.rope_theta ?? 10_000
  const kind = parameters.rope_type ?? parameters.type ?? 'default'
  if (kind === 'default') return { theta, scaling: undefined }
  const needed = (field: keyof z.infer<typeof ropeSchema>): number => {
    const value = parameters[field]
    if (typeof value !== 'number') throw new FieldError(`${name}.${field}`, `is needed for type "${kind}"`)
    return value
  }
  if (kind === 'linear') return { theta, scaling: { kind, factor: needed('factor') } }
  const scaling = {
    kind,
    factor: needed('factor'),
    lowFrequencyFactor: needed('low_freq_factor'),
    highFrequencyFactor: needed('high_freq_factor'),
    positions: needed('original_max_position_embeddings'),
  }
  if (scaling.highFrequencyFactor <= scaling.lowFrequencyFactor)
    throw new FieldError(`${name}.high_freq_factor`, 'must be above low_freq_factor')
  return { theta, scaling }
}

/** The inverse of readConfig, for models that we make. */
export function hubConfig(config: ModelConfig): Record<string, unknown> {
  return config.architecture === 'gpt2' ? hubGpt2(config) : hubLlama(config)
}

function hubGpt2(config: Gpt2Config): Record<string, unknown> {
  return {
    architectures: ['GPT2LMHeadModel'],
    model_type: 'gpt2',
    vocab_size: config.vocabSize,
    n_positions: config.positions,
    n_embd: config.width,
    n_layer: config.layers,
    n_head: config.heads,
    n_inner: config.hidden,
    layer_norm_epsilon: config.epsilon,
    activation_function: 'gelu_new',
    tie_word_embeddings: true,
    bos_token_id: 0,
    eos_token_id: 0,
  }
}

function hubLlama(config: LlamaConfig): Record<string, unknown> {
  const { theta, scaling } = config.rope
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: config.vocabSize,
    max_position_embeddings: config.positions,
    hidden_size: config.width,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headWidth,
    intermediate_size: config.hidden,
    rms_norm_eps: config.epsilon,
    hidden_act: 'silu',
    rope_theta: theta,
    rope_scaling: scaling === undefined ? null : hubRope(scaling),
    tie_word_embeddings: config.tied,
  }
}

function hubRope(scaling: NonNullable<RopeConfig['scaling']>): Record<string, unknown> {
  const { kind: rope_type, factor } = scaling
  if (scaling.kind === 'linear') return { rope_type, factor }
  return {
    rope_type,
    factor,
    low_freq_factor: scaling.lowFrequencyFactor,
    high_freq_factor: scaling.highFrequencyFactor,
    original_max_position_embeddings: scaling.positions,
  }
}
