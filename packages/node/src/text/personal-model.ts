import { findBase } from '../base-folder.ts'
import { NodeError } from '../errors.ts'
import { findTrained, type ReadableState, readStateDirectory } from '../state/state-directory.ts'
import type { LoadOptions, LoadReport } from '../training/training-host.ts'
import type { Training } from '../training/training-worker.ts'
import { manifestHash } from '@comigs/protocol'

export interface PersonalModelOptions extends Omit<LoadOptions, 'base'> {
  readonly state: string
  readonly base?: string | undefined
}

export interface PersonalModel extends LoadReport {
  readonly federation: { readonly name: string; readonly hash: string }
  readonly experts: number
  /** After which it was written down. */
  readonly round: number
}

/**
 * Base, experts and routers as the peer of a state folder last wrote them down. The folder is only read, so that a peer may
 * be training in it.
 * @throws NodeError `STATE_UNUSABLE` when there is nothing yet; the worker's `CHECKPOINT_INVALID` when all is damaged
 */
export async function loadPersonalModel(
  training: Training,
  { state: folder, base: given, ...options }: PersonalModelOptions,
): Promise<PersonalModel> {
  const { manifest, checkpoints } = await readTrained(readStateDirectory(folder), folder)
  const base = await findBase(manifest.base, given)
  const loaded = await training.load({ ...options, base })
  let failure: unknown
  for (const { path, bytes } of checkpoints) {
    try {
      const made = await training.inspect(bytes, path)
      const experts = Number(made['experts'])
      await training.prepare({
        mixture: { experts, ...manifest.lora, routing: 'router' },
        // Nothing is trained here.
        batch: 1,
        context: 1,
        schedule: { kind: 'constant', rate: 0, warmupSteps: 1 },
        sharedSeed: manifest.seed,
        seed: 0,
      })
      await training.restore(bytes, path)
      const federation = { name: manifest.name, hash: manifestHash(manifest) }
      return { ...loaded, federation, experts, round: Number(made['round']) }
    } catch (error) {
      failure = error
    }
  }
  throw failure as Error
}

/** As many as the demo has peers. */
const SHOWN = 4

/** @throws NodeError `STATE_UNUSABLE` when there is nothing yet */
export async function readTrained(state: ReadableState, folder: string) {
  const manifest = await state.manifest()
  const checkpoints = await state.checkpoints()
  if (manifest !== undefined && checkpoints.length > 0) return { manifest, checkpoints }
  const elsewhere = await findTrained(folder)
  const reason =
    elsewhere.length === 0
      ? `no peer has trained here yet; train one: npx comigs-peer --data <your text> --state ${folder}`
      : `no peer has trained here itself, but in ${elsewhere.slice(-SHOWN).join(', ')}: give one of these with --state`
  throw new NodeError({ code: 'STATE_UNUSABLE', path: folder, reason })
}
