import { hashBase } from '@comigs/model/light'
import type { Manifest } from '@comigs/protocol'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { NodeError } from './errors.ts'

/** Base models that come with this package. */
const SHIPPED = fileURLToPath(new URL('../models/', import.meta.url))

export const DEFAULT_BASE = join(SHIPPED, 'base-en')

/**
 * Finds the folder of a federation's base by the hash of its files: what the user gave, else what is shipped. Weights are
 * never fetched from peers.
 * @throws NodeError `BASE_MISSING`, `BASE_MISMATCH` naming what differs
 */
export async function findBase(wanted: Manifest['base'], given: string | undefined): Promise<string> {
  if (given !== undefined) {
    const actual = await hashBase(given)
    for (const field of ['weights', 'config', 'tokenizer'] as const) {
      if (actual[field] !== wanted[field]) {
        const detail = { folder: given, field, expected: wanted[field], actual: actual[field] }
        throw new NodeError({ code: 'BASE_MISMATCH', ...detail })
      }
    }
    return given
  }
  const shipped = await readdir(SHIPPED).catch(() => [])
  const looked = shipped.map((name) => join(SHIPPED, name))
  for (const folder of looked) {
    const actual = await hashBase(folder).catch(() => undefined)
    if (
      actual?.weights === wanted.weights &&
      actual.config === wanted.config &&
      actual.tokenizer === wanted.tokenizer
    ) {
      return folder
    }
  }
  throw new NodeError({ code: 'BASE_MISSING', name: wanted.name, weights: wanted.weights, looked })
}
