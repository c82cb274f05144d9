import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { z } from 'zod'
import type { ModelConfig } from './config.ts'
import { ModelError } from './errors.ts'
import { readJson, reasonOf } from './files.ts'
import { readConfig } from './hub-config.ts'
import { type BaseSpec, baseLayout, type NamedArray } from './parameters.ts'
import { openSafetensors, type SafetensorsFile } from './safetensors.ts'

/** A frozen base model. */
export interface BaseModel {
  readonly config: ModelConfig
  /**
   * Under the names of `baseLayout`. Those of a base on disk are read as they are asked for, each time again: take one,
   * use it, let it go, and the model is never in memory as a whole.
   */
  readonly arrays: Iterable<NamedArray>
  /** Bits of the widest number in its files. @default 32 */
  readonly bits?: 16 | 32
  readonly hashes: BaseHashes
}

/** SHA-256, hex: what a federation's manifest says about its base. */
export interface BaseHashes {
  /** Of the one file; of several: of the lines `<sha-256> <file name>\n` for each, in the order of their names. */
  readonly weights: string
  readonly config: string
  readonly tokenizer: string
}

const WEIGHTS = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'

/**
 * Loads config and weights from a Hugging Face folder and checks every tensor's name and shape; values are checked as
 * they are read.
 * @throws ModelError naming the file and the tensor or field
 */
export async function loadBase(folder: string): Promise<BaseModel> {
  return { ...(await openBase(folder)), hashes: await hashBase(folder) }
}

/** The same without reading the files through. */
export async function openBase(folder: string): Promise<Omit<BaseModel, 'hashes'>> {
  const config = await readConfig(folder)
  const files = await openWeights(folder)
  const tensors = baseLayout(config).entries.map((spec) => find(files, spec, config.architecture))
  refuseOthers(files, new Set(tensors.map(({ stored }) => stored)), config)
  return {
    config,
    arrays: {
      *[Symbol.iterator]() {
        for (const { name, stored, file } of tensors) yield { ...file.array(stored), name }
      },
    },
    bits: tensors.some(({ file, stored }) => file.dtype(stored) === 'F32') ? 32 : 16,
  }
}

interface Files {
  /** For error messages. */
  readonly path: string
  readonly byTensor: ReadonlyMap<string, SafetensorsFile & { readonly path: string }>
}

async function openWeights(folder: string): Promise<Files> {
  const byTensor = new Map<string, SafetensorsFile & { path: string }>()
  const names = await weightFiles(folder)
  for (const name of names) {
    const path = join(folder, name)
    const file = { ...openSafetensors(path), path }
    for (const tensor of file.names) byTensor.set(tensor, file)
  }
  return { path: join(folder, names.length === 1 ? names[0]! : INDEX), byTensor }
}

const indexSchema = z.object({
  // Names of files beside it, nothing that leads elsewhere.
  weight_map: z.record(z.string(), z.string().regex(/^[\w.-]+\.safetensors$/)),
})

/** The files of a base's weights, in the order of their names. */
async function weightFiles(folder: string): Promise<string[]> {
  const path = join(folder, INDEX)
  if (existsSync(join(folder, WEIGHTS)) || !existsSync(path)) return [WEIGHTS]
  const parsed = indexSchema.safeParse(await readJson(path))
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!
    const reason = issue.message.toLowerCase()
    throw new ModelError({ code: 'CONFIG_INVALID', path, field: issue.path.join('.'), reason })
  }
  return [...new Set(Object.values(parsed.data.weight_map))].sort()
}

type Architecture = ModelConfig['architecture']

/** How else a file may call a parameter: the family's body is saved alone or as a part of the whole model. */
const ALIASES: Readonly<Record<Architecture, (name: string) => string>> = {
  gpt2: (name) => `transformer.${name}`,
  llama: (name) => name.replace(/^model\./, ''),
}

function find({ path, byTensor }: Files, { name, shape }: BaseSpec, architecture: Architecture) {
  const stored = [ALIASES[architecture](name), name].find((one) => byTensor.has(one))
  if (stored === undefined) throw new ModelError({ code: 'TENSOR_MISSING', path, tensor: name })
  const file = byTensor.get(stored)!
  const actual = file.shape(stored)
  if (actual.join() !== shape.join()) {
    throw new ModelError({
      code: 'SHAPE_MISMATCH',
      what: `${file.path}: tensor "${stored}"`,
      expected: `[${shape.join()}]`,
      actual: `[${actual.join()}]`,
    })
  }
  return { name, stored, file }
}

/** What files hold that is no parameter: masks, angles, a second copy of a tied head. */
const NO_PARAMETER = /(\.attn\.(masked_)?bias|\.rotary_emb\.inv_freq)$/
const HEAD = 'lm_head.weight'

/** A parameter that we would leave out (a bias, an adapter) makes another model than the one that was saved. */
function refuseOthers({ byTensor }: Files, known: ReadonlySet<string>, config: ModelConfig): void {
  const tied = config.architecture === 'gpt2' || config.tied
  for (const [tensor, { path }] of byTensor) {
    if (known.has(tensor) || NO_PARAMETER.test(tensor) || (tied && tensor === HEAD)) continue
    throw new ModelError({ code: 'TENSOR_UNEXPECTED', path, tensor })
  }
}

/** Hashes of a base's files, without loading it as a model. */
export async function hashBase(folder: string): Promise<BaseHashes> {
  const sha256 = (file: string) => hashFile(join(folder, file))
  const files = await weightFiles(folder)
  const hashes = await Promise.all(files.map(sha256))
  const lines = files.map((file, i) => `${hashes[i]} ${file}\n`)
  return {
    weights: files.length === 1 ? hashes[0]! : createHash('sha256').update(lines.join('')).digest('hex'),
    config: await sha256('config.json'),
    tokenizer: await sha256('tokenizer.json'),
  }
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  try {
    await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash)
  } catch (error) {
    throw new ModelError({ code: 'FILE_UNREADABLE', path, reason: reasonOf(error) }, { cause: error })
  }
  return hash.digest('hex')
}
