import { decodeOwnState, encodeOwnState, type Manifest, type OwnState, parseManifest } from '@comigs/protocol'
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { existsSync } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { NodeError } from '../errors.ts'
import { replaceFile } from '../replace-file.ts'

/** Addresses of peers met before, by peer id. */
export type KnownPeers = Readonly<Record<string, readonly string[]>>

/**
 * A peer's memory on disk. Every file is replaced as a whole or not at all, so that a peer that dies at any moment loses
 * at most the round that it was in.
 */
export interface StateDirectory extends ReadableState {
  readonly folder: string
  /** The peer's Ed25519 key, made on first use. */
  key(): Promise<PrivateKey>
  saveManifest(manifest: Manifest): Promise<void>
  saveCheckpoint(bytes: Uint8Array): Promise<void>
  /** Undefined when there is none or it cannot be believed. */
  ownState(count: number): Promise<OwnState | undefined>
  saveOwnState(state: OwnState): Promise<void>
  knownPeers(): Promise<KnownPeers>
  saveKnownPeers(peers: KnownPeers): Promise<void>
  savePrivacy(record: PrivacyRecord): Promise<void>
  /** Lets another process use the folder. */
  release(): Promise<void>
}

/** What others may look at while a peer writes: at every moment there is a whole checkpoint of either name. */
export interface ReadableState {
  manifest(): Promise<Manifest | undefined>
  /** Newest first; the second serves when the first is damaged. */
  checkpoints(): Promise<readonly { readonly path: string; readonly bytes: Uint8Array }[]>
  /**
   * What was told under differential privacy by the end of that round.
   * @throws NodeError `STATE_UNUSABLE` when nobody wrote it down: it is not nothing
   */
  privacy(round: number): Promise<PrivacyRecord>
}

/** What a federation's differential privacy has to know of the past. */
export interface PrivacyRecord {
  /** Rounds whose update left this machine, clipped and with noise. */
  readonly releases: number
  /** Whether a round was trained alone, without either: whatever is told after that gives it away. */
  readonly unprotected: boolean
}

const PRIVATE_FOLDER = 0o700
const PRIVATE_FILE = 0o600

/**
 * Opens (or makes) a state folder and locks it for this process.
 * @throws NodeError `STATE_LOCKED`, `STATE_UNUSABLE`
 */
export async function openStateDirectory(folder: string): Promise<StateDirectory> {
  const at = (name: string) => join(folder, name)
  const { read, json, ...readable } = reader(folder)
  try {
    await mkdir(folder, { recursive: true, mode: PRIVATE_FOLDER })
    await lock(folder, at('pid'))
  } catch (error) {
    throw error instanceof NodeError ? error : unusable(folder, error)
  }

  const write = async (name: string, data: Uint8Array | string): Promise<void> => {
    try {
      await replaceFile(at(name), data, PRIVATE_FILE)
    } catch (error) {
      throw unusable(at(name), error)
    }
  }
  return {
    folder,
    ...readable,

    async key() {
      const stored = await read('key')
      if (stored !== undefined) {
        try {
          return privateKeyFromProtobuf(stored) as unknown as PrivateKey
        } catch (error) {
          throw unusable(at('key'), error)
        }
      }
      const made = await generateKeyPair('Ed25519')
      await write('key', privateKeyToProtobuf(made))
      return made as unknown as PrivateKey
    },

    saveManifest: (manifest) => write('manifest.json', `${JSON.stringify(manifest, null, 2)}\n`),

    async saveCheckpoint(bytes) {
      await rename(at('checkpoint.safetensors'), at('checkpoint.previous.safetensors')).catch(
        (error: unknown) => {
          if (!isMissing(error)) throw unusable(at('checkpoint.safetensors'), error)
        },
      )
      await write('checkpoint.safetensors', bytes)
    },

    async ownState(count) {
      const bytes = await read('published')
      if (bytes === undefined) return undefined
      try {
        return decodeOwnState(bytes, count)
      } catch {
        return undefined // a state that cannot prove itself: the peer begins a new epoch
      }
    },
    saveOwnState: (state) => write('published', encodeOwnState(state)),

    async knownPeers() {
      return ((await json('peers.json')) ?? {}) as KnownPeers
    },
    saveKnownPeers: (peers) => write('peers.json', `${JSON.stringify(peers, null, 2)}\n`),

    savePrivacy: (record) => write('privacy.json', `${JSON.stringify(record)}\n`),

    release: () => rm(at('pid'), { force: true }),
  }
}

/** The folder of a peer that may be running: nothing is locked, made or written. */
export function readStateDirectory(folder: string): ReadableState {
  const { manifest, checkpoints, privacy } = reader(folder)
  return { manifest, checkpoints, privacy }
}

/** The folders in a folder, or in one of those, in which a peer has trained: a swarm's peers, or those of several swarms. */
export async function findTrained(folder: string, depth = 2): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const inside = entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name))
  const found = inside.sort().map(async (path) => {
    if (existsSync(join(path, 'checkpoint.safetensors'))) return [path]
    return depth > 1 ? findTrained(path, depth - 1) : []
  })
  return (await Promise.all(found)).flat()
}

const PRIVACY_RECORD = z.strictObject({ releases: z.number().int().nonnegative(), unprotected: z.boolean() })

function reader(folder: string): ReadableState & {
  read(name: string): Promise<Buffer | undefined>
  json(name: string): Promise<unknown>
} {
  const at = (name: string) => join(folder, name)
  const read = async (name: string): Promise<Buffer | undefined> => {
    try {
      return await readFile(at(name))
    } catch (error) {
      if (isMissing(error)) return undefined
      throw unusable(at(name), error)
    }
  }
  const json = async (name: string): Promise<unknown> => {
    const bytes = await read(name)
    if (bytes === undefined) return undefined
    try {
      return JSON.parse(bytes.toString('utf8'))
    } catch (error) {
      throw unusable(at(name), error)
    }
  }
  return {
    read,
    json,
    async manifest() {
      const stored = await json('manifest.json')
      return stored === undefined ? undefined : parseManifest(stored)
    },
    async checkpoints() {
      const found = []
      for (const name of ['checkpoint.safetensors', 'checkpoint.previous.safetensors']) {
        const bytes = await read(name)
        if (bytes !== undefined) found.push({ path: at(name), bytes })
      }
      return found
    },
    async privacy(round) {
      const stored = await json('privacy.json')
      if (stored === undefined && round === 0) return { releases: 0, unprotected: false }
      const parsed = PRIVACY_RECORD.safeParse(stored)
      if (!parsed.success) {
        const reason = `it does not say what was told in ${round} rounds; begin again in another folder (--state)`
        throw unusable(at('privacy.json'), reason)
      }
      return parsed.data
    },
  }
}

function unusable(path: string, error: unknown): NodeError {
  const reason = error instanceof Error ? error.message : String(error)
  return new NodeError({ code: 'STATE_UNUSABLE', path, reason }, { cause: error })
}

/** A lock that names nobody for longer is of a process that was killed before it could. */
const LOCKING_MS = 1000
const LOCK_POLL_MS = 20

async function lock(folder: string, path: string): Promise<void> {
  for (;;) {
    try {
      const file = await open(path, 'wx', PRIVATE_FILE)
      await file.writeFile(String(process.pid))
      await file.close()
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const text = await readFile(path, 'utf8').catch(() => '')
    if (text === '' && (await ageMs(path)) < LOCKING_MS) {
      await sleep(LOCK_POLL_MS) // another process has made the file and is about to say who it is
      continue
    }
    const pid = Number(text)
    if (pid !== process.pid && isRunning(pid)) throw new NodeError({ code: 'STATE_LOCKED', folder, pid })
    await rm(path, { force: true }) // left behind by a process that was killed
  }
}

/** Infinity where there is no such file. */
async function ageMs(path: string): Promise<number> {
  const made = await stat(path).catch(() => undefined)
  return made === undefined ? Infinity : Date.now() - made.mtimeMs
}

function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT'
