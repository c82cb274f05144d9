import { readSafetensors, writeSafetensors, type NamedArray } from '@comigs/model'
import { readFile, rm } from 'node:fs/promises'
import { NodeError } from '../errors.ts'
import type { CurvePoint, FederationState } from './federation.ts'
import { replaceFile } from '../replace-file.ts'

/** What is not an array of a state, as JSON. */
interface Plain {
  readonly round: number
  readonly curve: readonly CurvePoint[]
  readonly bytesPerRound: number
  readonly models: readonly { readonly expertSteps: number; readonly routerSteps: number }[]
  readonly memory: number
  readonly seconds: number
}

export interface SavedRun {
  readonly state: FederationState
  /** Computed so far. */
  readonly seconds: number
}

/** A file that lets a killed run go on, exactly. Replaced as a whole. */
export async function saveRun(path: string, { state, seconds }: SavedRun): Promise<void> {
  const { models, memory, round, curve, bytesPerRound } = state
  const array = (name: string, values: Float32Array): NamedArray => ({ name, shape: [values.length], values })
  const arrays = [
    ...models.flatMap((model, i) =>
      Object.entries(model.arrays).map(([name, values]) => array(`${i}/${name}`, values)),
    ),
    ...memory.map((values, i) => array(`memory/${i}`, values)),
  ]
  const steps = models.map(({ expertSteps, routerSteps }) => ({ expertSteps, routerSteps }))
  const plain: Plain = { round, curve, bytesPerRound, models: steps, memory: memory.length, seconds }
  await replaceFile(path, writeSafetensors(arrays, { run: JSON.stringify(plain) }))
}

/**
 * @returns undefined where there is none
 * @throws NodeError `STATE_UNUSABLE`
 */
export async function loadRun(path: string): Promise<SavedRun | undefined> {
  const bytes = await readFile(path).catch(() => undefined)
  if (bytes === undefined) return undefined
  try {
    const file = readSafetensors(bytes, path)
    const plain = JSON.parse(file.metadata['run'] ?? '') as Plain
    const models = plain.models.map((steps, i) => {
      const names = file.names.filter((name) => name.startsWith(`${i}/`))
      const arrays = names.map(
        (name) => [name.slice(name.indexOf('/') + 1), file.array(name).values] as const,
      )
      return { ...steps, arrays: Object.fromEntries(arrays) }
    })
    const memory = Array.from({ length: plain.memory }, (_, i) => file.array(`memory/${i}`).values)
    const { round, curve, bytesPerRound, seconds } = plain
    return { state: { round, models, memory, curve, bytesPerRound }, seconds }
  } catch (error) {
    const reason = `${error instanceof Error ? error.message : String(error)}; delete it to begin that run anew`
    throw new NodeError({ code: 'STATE_UNUSABLE', path, reason }, { cause: error })
  }
}

export const removeRun = (path: string): Promise<void> => rm(path, { force: true })
