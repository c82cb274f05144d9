import type { BaseDtype, EngineName } from '@comigs/model'
import { type Manifest, manifestHash } from '@comigs/protocol'
import { join } from 'node:path'
import { DEFAULT_BASE, findBase, isOnHub, readable } from './base-folder.ts'
import { NodeError } from './errors.ts'
import { checkMemory } from './memory.ts'
import { newManifest, ownManifests, requireFederation, requireFit, undescribed } from './new-manifest.ts'
import { PAPER } from './paper.ts'
import { type ReadableState, readStateDirectory } from './state/state-directory.ts'
import type { TrainingHost } from './training/training-host.ts'

/** What a peer was told, as far as something else depends on it. */
export interface Told {
  readonly state: string
  readonly manifest?: string | undefined
  readonly federation?: string | undefined
  readonly bootstrap?: readonly string[] | undefined
  readonly base?: string | undefined
  readonly baseDtype: BaseDtype
  readonly experts: number
  readonly batch: number
  readonly context: number
  readonly localSteps?: number | undefined
  readonly seed?: number | undefined
  readonly engine: EngineName | 'auto'
  readonly threads: number
  readonly publishPerplexity: boolean
}

/** Something that a peer runs with. */
export interface Setting {
  /** A flag's name, `manifest.` and a field of the federation's manifest, or `memory`. */
  readonly key: string
  /** Null: not given, or nobody knows before the peer starts. */
  readonly value: unknown
  readonly source: 'cli' | 'env' | 'config' | 'default' | 'manifest' | 'state' | 'machine'
  /** In words: which variable, file or reason. */
  readonly from: string
}

/** Fields of a manifest that say how its peers train and what they send. */
const FIELDS = [
  'name',
  'seed',
  'lora',
  'routerEvery',
  'routerSteps',
  'schedule',
  'codec',
  'robust',
  'momentum',
  'privacy',
] as const satisfies readonly (keyof Manifest)[]

/**
 * What a peer's options leave open, and who settles it: the federation's manifest, the state folder, this machine. Nobody is
 * asked, nothing is written or downloaded.
 * @throws what would keep the peer from training, after what is settled all the same
 */
export async function* settledElsewhere(told: Told): AsyncGenerator<Setting> {
  const { state: folder, bootstrap = [] } = told
  const state = readStateDirectory(folder)
  if (told.seed === undefined) yield { key: 'seed', value: null, source: 'state', from: `key in ${folder}` }
  if (told.engine === 'auto') {
    const { selectEngine } = await import('@comigs/model')
    const { engine, reason } = await selectEngine(told)
    yield byMachine('engine', engine.name, reason)
  }

  const { given, pinned } = await ownManifests(told.manifest, state)
  const known = given ?? pinned
  if (known !== undefined) requireFederation(known, told.federation)
  requirePublishable(known, told)
  const joins = known === undefined && (bootstrap.length > 0 || told.federation !== undefined)
  const base = await findHere(told.base, known, joins)
  const manifest = known ?? (joins ? undefined : await newManifest(base ?? DEFAULT_BASE, undescribed()))
  const from = joins
    ? 'the federation, once joined'
    : known === undefined
      ? 'default'
      : (told.manifest ?? join(folder, 'manifest.json'))
  const source = from === 'default' ? from : 'manifest'
  const open = {
    federation: [told.federation, known && manifestHash(known).slice(0, 16)],
    base: [told.base, base],
    'local-steps': [told.localSteps, manifest?.localSteps],
  }
  for (const [key, [said, value = null]] of Object.entries(open))
    if (said === undefined) yield { key, value, source, from }
  for (const field of manifest === undefined ? [] : FIELDS) {
    const isDrawn = field === 'seed' && known === undefined
    yield { key: `manifest.${field}`, value: isDrawn ? null : (manifest![field] ?? null), source, from }
  }

  if (base === undefined) return
  if (known !== undefined) await requireFit(known, base)
  const host = new (await import('./training/training-host.ts')).TrainingHost()
  const made = newestWhole(host, await state.checkpoints())
  if (made !== undefined) requireSameExperts(made, told.experts, folder)
  if (told.baseDtype === 'auto') {
    const { openBase, settledDtype } = await import('@comigs/model')
    yield byMachine('base-dtype', settledDtype(await openBase(base), 'auto'), "the base's files and size")
  }
  const { experts } = told
  const mixture = { experts, ...(manifest?.lora ?? PAPER.lora), routing: 'router' as const }
  const { needed, found, advice } = await checkMemory(host, base, { ...told, mixture })
  yield byMachine('memory', needed, advice === undefined ? found : `${found}; ${advice}`)
}

const byMachine = (key: string, value: unknown, from: string): Setting => {
  return { key, value, source: 'machine', from }
}

/** The base's folder; undefined: it is still on the hub, or it is the federation's that is yet to be joined. */
async function findHere(
  told: string | undefined,
  manifest: Manifest | undefined,
  joins: boolean,
): Promise<string | undefined> {
  if (told === undefined && joins) return undefined
  if (told !== undefined && isOnHub(told)) return undefined
  const given = told === undefined ? undefined : await readable(told)
  return manifest === undefined ? (given ?? DEFAULT_BASE) : findBase(manifest.base, given)
}

/** @returns the own part of the newest checkpoint that is whole, which a peer would go on from */
function newestWhole(
  host: TrainingHost,
  checkpoints: Awaited<ReturnType<ReadableState['checkpoints']>>,
): Readonly<Record<string, string>> | undefined {
  let failure: unknown
  for (const { path, bytes } of checkpoints) {
    try {
      return host.inspect(bytes, path)
    } catch (error) {
      failure = error
    }
  }
  if (failure !== undefined) throw failure as Error
  return undefined
}

/** @throws NodeError `OPTION_INVALID` when more would be told than the federation's differential privacy allows */
export function requirePublishable(
  manifest: Manifest | undefined,
  { publishPerplexity }: { readonly publishPerplexity: boolean },
): void {
  if (manifest?.privacy === undefined || !publishPerplexity) return
  const reason =
    'tells something of private text that epsilon does not count; leave it out in a federation with differential privacy'
  throw new NodeError({ code: 'OPTION_INVALID', option: '--publish-perplexity', value: 'true', reason })
}

/**
 * A checkpoint is of a number of experts.
 * @param made - a checkpoint's own part, as it was saved
 * @throws NodeError `OPTION_INVALID`
 */
export function requireSameExperts(
  made: Readonly<Record<string, string>>,
  experts: number,
  folder: string,
): void {
  if (made['experts'] === String(experts)) return
  const reason = `does not fit the checkpoint in ${folder}, which has ${made['experts'] ?? 'an unknown number'}`
  throw new NodeError({ code: 'OPTION_INVALID', option: '--experts', value: String(experts), reason })
}
