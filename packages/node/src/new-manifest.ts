import { hashBase, readConfig, reasonOf, trainedLayout } from '@comigs/model/light'
import {
  decodeManifest,
  isProtocolError,
  type Manifest,
  manifestHash,
  parseManifest,
  PROTOCOL_VERSION,
  ProtocolError,
  requireSameManifest,
} from '@comigs/protocol'
import { readFile } from 'node:fs/promises'
import { publicName } from './base-folder.ts'
import { NodeError } from './errors.ts'
import { PAPER } from './paper.ts'
import type { ReadableState } from './state/state-directory.ts'

/** What the one who starts a federation decides; the rest are the paper's constants (appendix B). */
export interface NewFederation {
  readonly name: string
  readonly seed: number
  readonly schedule: Manifest['schedule']
  readonly codec: Manifest['codec']
  readonly robust: boolean
  readonly momentum?: number | undefined
}

/** A federation without an end has no cosine: the rate stays until validation stops to improve. */
export const OPEN_ENDED: Manifest['schedule'] = { kind: 'constant', rate: PAPER.rate, warmupSteps: 20 }

export const forRounds = (rounds: number): Manifest['schedule'] => ({
  kind: 'cosine',
  rate: PAPER.rate,
  rounds,
})

/** A federation that nobody described. */
export const undescribed = (): NewFederation => ({
  name: 'comigs',
  seed: Math.floor(Math.random() * 0x1_0000_0000),
  schedule: OPEN_ENDED,
  codec: { values: 'int8' },
  robust: true,
})

/** Describes a federation on the base in a folder. */
export async function newManifest(baseFolder: string, federation: NewFederation): Promise<Manifest> {
  const { name, seed, schedule, codec, robust, momentum } = federation
  const { lora, localSteps, routerEvery, routerSteps } = PAPER
  return parseManifest({
    comigs: PROTOCOL_VERSION,
    name,
    base: { name: publicName(baseFolder), ...(await hashBase(baseFolder)) },
    lora,
    parameters: await sharedParameters(baseFolder, lora),
    seed,
    localSteps,
    routerEvery,
    routerSteps,
    schedule,
    codec,
    robust,
    ...(momentum === undefined ? {} : { momentum }),
  })
}

/** @throws ProtocolError `MANIFEST_INVALID` naming the file, NodeError `OPTION_INVALID` when there is no such file */
export async function readManifest(path: string): Promise<Manifest> {
  try {
    return decodeManifest(await readFile(path))
  } catch (error) {
    if (isProtocolError(error) && error.detail.code === 'MANIFEST_INVALID')
      throw new ProtocolError({ ...error.detail, path }, { cause: error })
    const reason = `cannot be read: ${reasonOf(error)}`
    throw new NodeError(
      { code: 'OPTION_INVALID', option: '--manifest', value: path, reason },
      { cause: error },
    )
  }
}

/**
 * The manifest that a peer has without asking others: the one that it was given, and the one of its state folder, which must
 * be the same.
 * @throws ProtocolError `MANIFEST_INVALID`, `MANIFEST_MISMATCH`, NodeError `OPTION_INVALID`, `STATE_UNUSABLE`
 */
export async function ownManifests(
  file: string | undefined,
  state: ReadableState,
): Promise<{ readonly given: Manifest | undefined; readonly pinned: Manifest | undefined }> {
  const pinned = await state.manifest()
  const given = file === undefined ? undefined : await readManifest(file)
  if (given !== undefined && pinned !== undefined) requireSameManifest(pinned, given)
  return { given, pinned }
}

/** @throws ProtocolError `FEDERATION_UNEXPECTED` when it is not the federation that is meant, if one is */
export function requireFederation(manifest: Manifest, wanted: string | undefined): void {
  const actual = manifestHash(manifest)
  if (wanted === undefined || actual.startsWith(wanted.toLowerCase())) return
  throw new ProtocolError({ code: 'FEDERATION_UNEXPECTED', expected: wanted, actual })
}

/**
 * A manifest must fit the base that it names.
 * @throws ProtocolError `MANIFEST_INVALID`
 */
export async function requireFit(manifest: Manifest, baseFolder: string): Promise<void> {
  const parameters = await sharedParameters(baseFolder, manifest.lora)
  if (parameters === manifest.parameters) return
  const reason = `is ${manifest.parameters}, but this base with LoRA rank ${manifest.lora.rank} shares ${parameters}`
  throw new ProtocolError({ code: 'MANIFEST_INVALID', field: 'parameters', reason })
}

async function sharedParameters(baseFolder: string, lora: Manifest['lora']): Promise<number> {
  // How many experts a peer has does not change what it shares.
  return trainedLayout(await readConfig(baseFolder), { ...lora, experts: 1, routing: 'router' }).sharedSize
}
