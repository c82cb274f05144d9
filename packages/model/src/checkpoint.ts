import { createHash } from 'node:crypto'
import { z } from 'zod'
import { ModelError } from './errors.ts'
import { sameShape } from './engine/graph.ts'
import type { Layout, NamedArray } from './parameters.ts'
import { readSafetensors, writeSafetensors } from './safetensors.ts'
import type { TrainerCounters, TrainerState } from './trainer.ts'

const FORMAT = 'comigs-checkpoint-1'

const countersSchema = z.object({
  expertSteps: z.number().int().nonnegative(),
  routerSteps: z.number().int().nonnegative(),
  plateau: z.object({
    best: z.number().nullable(),
    bad: z.number().int().nonnegative(),
    factor: z.number().positive(),
  }),
})

/** A trainer's state as a safetensors file that knows whether it is whole. `extra` is the caller's own. */
export function encodeCheckpoint(
  { counters, arrays }: TrainerState,
  extra: Readonly<Record<string, string>>,
): Uint8Array {
  const metadata = { ...extra, format: FORMAT, counters: JSON.stringify(counters) }
  return writeSafetensors(arrays, { ...metadata, digest: digest(arrays, metadata) })
}

/**
 * @param path - for error messages
 * @throws ModelError `CHECKPOINT_INVALID` when anything is missing, truncated, changed or from another version
 */
export function decodeCheckpoint(
  bytes: Uint8Array,
  path: string,
): { readonly state: TrainerState; readonly extra: Readonly<Record<string, string>> } {
  const invalid = (reason: string, cause?: unknown) =>
    new ModelError({ code: 'CHECKPOINT_INVALID', path, reason }, { cause })
  try {
    const file = readSafetensors(bytes, path)
    const { format, counters, digest: expected, ...extra } = file.metadata
    if (format !== FORMAT) throw invalid(`its format is ${format ?? 'unknown'}, expected ${FORMAT}`)
    const arrays = file.names.map((name) => file.array(name))
    if (digest(arrays, { ...extra, format, counters: counters ?? '' }) !== expected)
      throw invalid('its contents were changed after it was written')
    return { state: { counters: parseCounters(counters ?? ''), arrays }, extra }
  } catch (error) {
    if (error instanceof ModelError && error.detail.code === 'CHECKPOINT_INVALID') throw error
    throw invalid(error instanceof Error ? error.message : String(error), error)
  }
}

/** @throws where it is not what `JSON.stringify` made of counters */
export function parseCounters(json: string): TrainerCounters {
  const parsed = countersSchema.parse(JSON.parse(json))
  // JSON has no Infinity: a plateau that has seen nothing comes back as null.
  return { ...parsed, plateau: { ...parsed.plateau, best: parsed.plateau.best ?? Infinity } }
}

/**
 * The arrays of a layout out of a file's, in the layout's order.
 * @param prefix - of their names in the file
 * @throws ModelError `CHECKPOINT_INVALID` when an array is missing or has another shape
 */
export function layoutArrays(
  { entries }: Layout,
  stored: readonly NamedArray[],
  { prefix, path }: { readonly prefix: string; readonly path: string },
): NamedArray[] {
  const byName = new Map(stored.map((array) => [array.name, array]))
  return entries.map(({ name, shape }) => {
    const found = byName.get(prefix + name)
    if (found !== undefined && sameShape(found.shape, shape)) return { ...found, name }
    const reason = `array "${prefix}${name}" ${found === undefined ? 'is missing' : 'has another shape'}`
    throw new ModelError({ code: 'CHECKPOINT_INVALID', path, reason })
  })
}

function digest(arrays: readonly NamedArray[], metadata: Readonly<Record<string, string>>): string {
  const hash = createHash('sha256')
  const entries = Object.entries(metadata).filter(([key]) => key !== 'digest')
  hash.update(JSON.stringify(entries.sort(([a], [b]) => (a < b ? -1 : 1))))
  for (const { name, shape, values } of arrays) {
    hash.update(`${name}[${shape.join()}]`)
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  }
  return hash.digest('hex')
}
