import { hashBase, reasonOf } from '@comigs/model/light'
import { LONGEST_NAME, type Manifest } from '@comigs/protocol'
import { existsSync } from 'node:fs'
import { access, constants, readdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { NodeError } from './errors.ts'
import { folderOfName, isHubId, nameOfFolder, parseHubId } from './hub-name.ts'
import type { HubOptions } from './hub.ts'

/** Base models that come with this package. */
const SHIPPED = fileURLToPath(new URL('../models/', import.meta.url))

export const DEFAULT_BASE = join(SHIPPED, 'base-en')

/** Models of the hub, each in `owner--name/<commit>` (hub.ts). */
const downloads = (): string =>
  join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'comigs', 'bases')

/** What others know a base by: `owner/name` on the hub. Any other folder's name is nobody's business. */
export function publicName(folder: string): string {
  const model = dirname(folder)
  const name = nameOfFolder(basename(model))
  return dirname(model) === downloads() && name.length <= LONGEST_NAME ? name : 'base'
}

/**
 * What a user gave as base, as a folder: itself, or a model of the Hugging Face hub that is downloaded to
 * `~/.cache/comigs`. HF_ENDPOINT, HF_TOKEN and XDG_CACHE_HOME count as they do for Hugging Face's own tools.
 * @throws NodeError `BASE_UNREADABLE`, `BASE_DOWNLOAD_FAILED`
 */
export async function resolveBase(
  given: string | undefined,
  onProgress: HubOptions['onProgress'],
): Promise<string | undefined> {
  if (given === undefined) return given
  if (!isOnHub(given)) return readable(given)
  const { fetchBase } = await import('./hub.ts')
  const { HF_ENDPOINT, HF_TOKEN } = process.env
  return fetchBase(given, {
    url: (HF_ENDPOINT ?? 'https://huggingface.co').replace(/\/+$/, ''),
    token: HF_TOKEN,
    cache: downloads(),
    onProgress,
  })
}

/** Whether a base that was given is meant to be on the hub: there is no such folder, and it reads like an id. */
export const isOnHub = (given: string): boolean => !existsSync(given) && isHubId(given)

/** @throws NodeError `BASE_UNREADABLE` when there is no base in the folder */
export async function readable(folder: string): Promise<string> {
  const config = 'config.json'
  try {
    await access(join(folder, config), constants.R_OK)
    return folder
  } catch (error) {
    const reason = `${config}: ${reasonOf(error)}`
    throw new NodeError({ code: 'BASE_UNREADABLE', folder, reason }, { cause: error })
  }
}

/**
 * Finds the folder of a federation's base by the hash of its files: what the user gave, else what is shipped or was
 * downloaded under its name. Weights are never fetched from peers, nor from the hub because a peer says so.
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
  const looked = [...(await foldersIn(SHIPPED)), ...(await downloadsOf(wanted.name))]
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

const foldersIn = async (folder: string): Promise<readonly string[]> => {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name))
}

/** A name comes from the network: one that is none of the hub leads nowhere. */
const downloadsOf = async (name: string): Promise<readonly string[]> =>
  parseHubId(name)?.name === name ? foldersIn(join(downloads(), folderOfName(name))) : []
