import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { z } from 'zod'
import type { ModelConfig } from './config.ts'
import { ModelError } from './errors.ts'
import { readBytes, readJson } from './files.ts'
import { baseLayout, type NamedArray } from './parameters.ts'
import { readSafetensors } from './safetensors.ts'

/** A frozen base model. */
export interface BaseModel {
  readonly config: ModelConfig
  /** Under Hugging Face's names for GPT-2, without the `transformer.` prefix. */
  readonly arrays: readonly NamedArray[]
  readonly hashes: BaseHashes
}

/** SHA-256 of each file, hex: what a federation's manifest says about its base. */
export interface BaseHashes {
  readonly weights: string
  readonly config: string
  readonly tokenizer: string
}

const WEIGHTS = 'model.safetensors'
const CONFIG = 'config.json'
const TOKENIZER = 'tokenizer.json'

const positive = z.number().int().positive()
const gpt2Config = z.object({
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
})

/**
 * Reads a Hugging Face `config.json`.
 * @throws ModelError `ARCHITECTURE_UNSUPPORTED`, `CONFIG_INVALID` with the field
 */
export async function readConfig(folder: string): Promise<ModelConfig> {
  const path = join(folder, CONFIG)
  const raw = ((await readJson(path)) ?? {}) as { model_type?: unknown; architectures?: unknown }
  if (raw.model_type !== 'gpt2') {
    const named = Array.isArray(raw.architectures) ? String(raw.architectures[0]) : String(raw.model_type)
    throw new ModelError({ code: 'ARCHITECTURE_UNSUPPORTED', path, architecture: named })
  }
  const parsed = gpt2Config.safeParse(raw)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!
    throw new ModelError({
      code: 'CONFIG_INVALID',
      path,
      field: issue.path.join('.'),
      reason: issue.message.toLowerCase(),
    })
  }
  const c = parsed.data
  if (c.n_embd % c.n_head !== 0) {
    throw new ModelError({
      code: 'CONFIG_INVALID',
      path,
      field: 'n_head',
      reason: `must divide n_embd (${c.n_embd})`,
    })
  }
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

/** The inverse of readConfig, for models that we make. */
export function hubConfig(config: ModelConfig): Record<string, unknown> {
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

/**
 * Loads config and weights from a Hugging Face folder and checks every tensor's presence, shape and values.
 * @throws ModelError naming the file and the tensor or field
 */
export async function loadBase(folder: string): Promise<BaseModel> {
  const config = await readConfig(folder)
  const path = join(folder, WEIGHTS)
  const bytes = await readBytes(path)
  const file = readSafetensors(bytes, path)
  const arrays = baseLayout(config).entries.map(({ name, shape }) => {
    const stored = file.has(`transformer.${name}`) ? `transformer.${name}` : name
    const actual = file.shape(stored)
    if (actual.join() !== shape.join()) {
      throw new ModelError({
        code: 'SHAPE_MISMATCH',
        what: `${path}: tensor "${stored}"`,
        expected: `[${shape.join()}]`,
        actual: `[${actual.join()}]`,
      })
    }
    return { ...file.array(stored), name }
  })
  return { config, arrays, hashes: { ...(await hashFiles(folder)), weights: sha256(bytes) } }
}

/** Hashes of a base's files, without loading it as a model. */
export async function hashBase(folder: string): Promise<BaseHashes> {
  return { ...(await hashFiles(folder)), weights: sha256(await readBytes(join(folder, WEIGHTS))) }
}

async function hashFiles(folder: string): Promise<Omit<BaseHashes, 'weights'>> {
  const [config, tokenizer] = await Promise.all(
    [CONFIG, TOKENIZER].map((file) => readBytes(join(folder, file))),
  )
  return { config: sha256(config!), tokenizer: sha256(tokenizer!) }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
