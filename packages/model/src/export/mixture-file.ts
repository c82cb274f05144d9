import { z } from 'zod'
import { layoutArrays, parseCounters } from '../checkpoint.ts'
import type { ModelConfig } from '../config.ts'
import { ModelError } from '../errors.ts'
import { type NamedArray, trainedLayout } from '../parameters.ts'
import { readSafetensors, writeSafetensors } from '../safetensors.ts'
import { EXPERTS, moments, ROUTER } from '../steps.ts'
import type { TrainerCounters, TrainerState } from '../trainer.ts'
import type { TrainedModel } from './trained-model.ts'

/** docs/EXPORT.md says what is where. */
const FORMAT = 'comigs-mixture-1'

/** Far more than anyone trains; a file that claims more would have us lay them out. */
const MAX_EXPERTS = 1024
const MAX_RANK = 256

const mixtureSchema = z.strictObject({
  experts: z.number().int().min(1).max(MAX_EXPERTS),
  rank: z.number().int().min(1).max(MAX_RANK),
  alpha: z.number().positive(),
  routing: z.enum(['router', 'mean']),
})

export interface MixtureFile {
  readonly trained: TrainedModel
  /** How far training was. */
  readonly counters: TrainerCounters
  /** The caller's own. */
  readonly extra: Readonly<Record<string, string>>
}

/** A whole mixture, experts and routers, in one safetensors file. */
export function encodeMixture({ trained, counters, extra }: MixtureFile): Uint8Array {
  const described = { mixture: JSON.stringify(trained.mixture), counters: JSON.stringify(counters) }
  return writeSafetensors([...trained.arrays.values()], { ...extra, format: FORMAT, ...described })
}

/**
 * Reads what `encodeMixture` wrote, or what others made by docs/EXPORT.md. Nothing in it is believed before it is checked.
 * @param model - of the base that it is a mixture on
 * @param path - for error messages
 * @throws ModelError `SAFETENSORS_INVALID`, `TENSOR_NON_FINITE`, `CHECKPOINT_INVALID` saying what is wrong
 */
export function decodeMixture(bytes: Uint8Array, model: ModelConfig, path: string): MixtureFile {
  const invalid = (reason: string, cause?: unknown) =>
    new ModelError({ code: 'CHECKPOINT_INVALID', path, reason }, { cause })
  const file = readSafetensors(bytes, path)
  const { format, mixture: described = '', counters: counted = '', ...extra } = file.metadata
  if (format !== FORMAT) throw invalid(`its format is ${format ?? 'unknown'}, expected ${FORMAT}`)
  const field = <T>(name: string, parse: () => T): T => {
    try {
      return parse()
    } catch (error) {
      throw invalid(`its metadata field "${name}" is malformed`, error)
    }
  }
  const mixture = field('mixture', () => mixtureSchema.parse(JSON.parse(described)))
  const counters = field('counters', () => parseCounters(counted))
  const { experts, router } = trainedLayout(model, mixture)
  const stored = file.names.map((name) => file.array(name))
  const arrays = [experts, router].flatMap((layout) => layoutArrays(layout, stored, { prefix: '', path }))
  const known = new Set(arrays.map(({ name }) => name))
  const other = file.names.find((name) => !known.has(name))
  if (other !== undefined) throw invalid(`array "${other}" has no place in a mixture of ${mixture.experts}`)
  return {
    trained: { model, mixture, arrays: new Map(arrays.map((array) => [array.name, array])) },
    counters,
    extra,
  }
}

/**
 * A trainer's state to go on from. The moments were left behind: they start from nothing, which makes the first few steps
 * smaller, as a warm-up would (AdamW's bias correction is that of later steps).
 */
export function resumedState({ trained: { model, mixture, arrays }, counters }: MixtureFile): TrainerState {
  const { experts, router } = trainedLayout(model, mixture)
  const groups = [
    { key: EXPERTS, layout: experts },
    { key: ROUTER, layout: router },
  ]
  const named = groups.flatMap(({ key, layout }) =>
    layout.entries.flatMap(({ name, shape, size }): NamedArray[] => [
      { ...arrays.get(name)!, name: `${key}/${name}` },
      ...moments(key).map((moment) => ({
        name: `${moment}/${name}`,
        shape,
        values: new Float32Array(size),
      })),
    ]),
  )
  return { counters, arrays: named }
}
