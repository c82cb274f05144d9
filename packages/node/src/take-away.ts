import {
  type BaseModel,
  baseLayout,
  decodeCheckpoint,
  decodeMixture,
  encodeCheckpoint,
  encodeMixture,
  type HubName,
  loadBase,
  mergedArrays,
  peftAdapters,
  readConfig,
  readSafetensors,
  resumedState,
  safetensorsPieces,
  type TrainedModel,
  trainedModel,
  withOneExpert,
  writeSafetensors,
} from '@comigs/model'
import { decodeManifest, type Manifest } from '@comigs/protocol'
import { createWriteStream, existsSync } from 'node:fs'
import { copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { findBase } from './base-folder.ts'
import { isCoded, NodeError } from './errors.ts'
import { requireFit } from './new-manifest.ts'
import { openStateDirectory, readStateDirectory } from './state/state-directory.ts'
import { readTrained } from './text/personal-model.ts'

/** `peft`: adapters; `merged`: a model of its own, with one expert; `mixture`: all of it, to be imported again. */
export type ExportKind = 'peft' | 'merged' | 'mixture'

export interface ExportOptions {
  readonly as: ExportKind
  /** State folder, which is only read: a peer may be training in it. */
  readonly state: string
  /** A folder to be made; for a mixture, a file. */
  readonly out: string
  /** The one that is merged. */
  readonly expert: number
  readonly base: string | undefined
  /** What the base is called where adapters are loaded. */
  readonly hubName: HubName | null
}

export interface Exported {
  readonly as: ExportKind
  readonly out: string
  /** Within `out`, where that is a folder. */
  readonly parts: readonly string[]
  readonly experts: number
  readonly round: number
}

interface Personal {
  readonly manifest: Manifest
  readonly base: string
  readonly trained: TrainedModel
  readonly round: number
  mixtureFile(): Promise<Uint8Array>
}

/**
 * Writes the personal model of a state folder down for other tools.
 * @throws NodeError `STATE_UNUSABLE`, `OPTION_INVALID` when `out` exists or there is no such expert
 */
export async function exportModel(options: ExportOptions): Promise<Exported> {
  const { as, out } = options
  if (existsSync(out))
    throw new NodeError({ code: 'OPTION_INVALID', option: '--out', value: out, reason: 'exists already' })
  const personal = await readPersonal(options.state, options.base)
  const { trained, round } = personal
  const parts = await wholly(out, async (path) => {
    if (as === 'peft') return writeAdapters(path, trained, options.hubName)
    if (as === 'merged') return writeMerged(path, personal.base, withOneExpert(trained, options.expert))
    await writeFile(path, await personal.mixtureFile(), { mode: 0o600 })
    return []
  })
  return { as, out, parts, experts: trained.mixture.experts, round }
}

/** What is there under its name is all there. */
async function wholly<T>(out: string, write: (path: string) => Promise<T>): Promise<T> {
  const unfinished = `${resolve(out)}.partial` // whatever slash `out` ends with
  await rm(unfinished, { recursive: true, force: true })
  await mkdir(dirname(out), { recursive: true })
  try {
    const result = await write(unfinished)
    await rename(unfinished, out)
    return result
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    throw error
  }
}

async function readPersonal(folder: string, given: string | undefined): Promise<Personal> {
  const state = readStateDirectory(folder)
  const { manifest, checkpoints } = await readTrained(state, folder)
  const base = await findBase(manifest.base, given)
  const model = await readConfig(base)
  let failure: unknown
  for (const { path, bytes } of checkpoints) {
    try {
      const { state: saved, extra } = decodeCheckpoint(bytes, path)
      const mixture = { experts: Number(extra['experts']), ...manifest.lora, routing: 'router' as const }
      const trained = trainedModel(model, mixture, saved, path)
      const round = Number(extra['round'])
      return {
        manifest,
        base,
        trained,
        round,
        mixtureFile: async () => {
          const told = manifest.privacy === undefined ? undefined : await state.privacy(round)
          const privacy = told && { releases: String(told.releases), unprotected: String(told.unprotected) }
          const extra = { manifest: JSON.stringify(manifest), round: String(round), ...privacy }
          return encodeMixture({ trained, counters: saved.counters, extra })
        },
      }
    } catch (error) {
      failure = error
    }
  }
  throw failure as Error
}

async function writeAdapters(out: string, trained: TrainedModel, hubName: HubName | null): Promise<string[]> {
  const adapters = peftAdapters(trained, hubName)
  for (const { name, config, arrays } of adapters) {
    const folder = join(out, name)
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'adapter_config.json'), json(config))
    await writeFile(join(folder, 'adapter_model.safetensors'), writeSafetensors(arrays, { format: 'pt' }))
  }
  return adapters.map(({ name }) => name)
}

/** Goes with a model; not every model has each. */
const COMPANIONS = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'generation_config.json',
]

async function writeMerged(out: string, folder: string, trained: TrainedModel): Promise<string[]> {
  const base: BaseModel = await loadBase(folder)
  await mkdir(out, { recursive: true })
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>
  for (const field of ['dtype', 'torch_dtype']) if (field in config) config[field] = 'float32'
  await writeFile(join(out, 'config.json'), json(config))
  const companions = COMPANIONS.filter((file) => existsSync(join(folder, file)))
  for (const file of companions) await copyFile(join(folder, file), join(out, file))
  const { entries } = baseLayout(base.config)
  await pipeline(
    Readable.from(safetensorsPieces(entries, mergedArrays(base, trained), { format: 'pt' })),
    createWriteStream(join(out, 'model.safetensors')),
  )
  return ['config.json', ...companions, 'model.safetensors']
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`

export interface ImportOptions {
  readonly file: string
  /** State folder that holds no peer yet. */
  readonly state: string
  readonly base: string | undefined
}

export interface Imported {
  readonly state: string
  readonly federation: string
  readonly experts: number
  readonly round: number
}

/**
 * Makes a state folder of a mixture file: to write text from, or for a peer to go on from, under a key of its own.
 * @throws NodeError `STATE_UNUSABLE`; what `findBase` and `decodeMixture` throw
 */
export async function importMixture({ file, state: folder, base: given }: ImportOptions): Promise<Imported> {
  const bytes = await readFile(file).catch((error: unknown) => {
    const reason = `cannot be read: ${error instanceof Error ? error.message : String(error)}`
    throw new NodeError({ code: 'OPTION_INVALID', option: 'file', value: file, reason })
  })
  const manifest = manifestOf(readSafetensors(bytes, file).metadata, file)
  const base = await findBase(manifest.base, given)
  await requireFit(manifest, base)
  const mixture = decodeMixture(bytes, await readConfig(base), file)
  const { experts, rank, alpha, routing } = mixture.trained.mixture
  if (rank !== manifest.lora.rank || alpha !== manifest.lora.alpha || routing !== 'router')
    throw unusable(file, 'its mixture is not of the kind that its federation has')
  const { extra } = mixture
  const round = wholeNumber(extra['round'], 'round', file)
  const told = manifest.privacy && {
    releases: wholeNumber(extra['releases'], 'releases', file),
    unprotected: extra['unprotected'] !== 'false', // nobody may believe that it was protected
  }
  const state = await openStateDirectory(folder)
  try {
    if ((await state.manifest()) !== undefined || (await state.checkpoints()).length > 0)
      throw unusable(folder, 'a peer lives there already; import into another folder')
    if (told !== undefined) await state.savePrivacy(told)
    await state.saveCheckpoint(
      encodeCheckpoint(resumedState(mixture), { round: String(round), experts: String(experts) }),
    )
    await state.saveManifest(manifest)
  } finally {
    await state.release()
  }
  return { state: folder, federation: manifest.name, experts, round }
}

function manifestOf(metadata: Readonly<Record<string, string>>, file: string): Manifest {
  const { manifest } = metadata
  if (manifest === undefined) throw unusable(file, 'it names no federation: its metadata has no "manifest"')
  try {
    return decodeManifest(new TextEncoder().encode(manifest))
  } catch (error) {
    throw isCoded(error) ? unusable(file, error.message) : error
  }
}

function wholeNumber(text: string | undefined, name: string, file: string): number {
  const value = Number(text ?? 'missing')
  if (Number.isInteger(value) && value >= 0) return value
  throw unusable(file, `its metadata field "${name}" is ${text ?? 'missing'}, expected a whole number`)
}

const unusable = (path: string, reason: string) => new NodeError({ code: 'STATE_UNUSABLE', path, reason })
