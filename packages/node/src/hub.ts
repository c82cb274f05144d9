import { HubApiError, type ListFileEntry, listFiles, modelInfo } from '@huggingface/hub'
import { createHash, randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ReadableStream } from 'node:stream/web'
import { NodeError } from './errors.ts'
import { folderOfName, parseHubId } from './hub-name.ts'
import { replaceFile } from './replace-file.ts'

export interface HubOptions {
  /** Where the hub is, without a slash at the end. */
  readonly url: string
  /** For models that are private or ask for consent. */
  readonly token: string | undefined
  /** Folder that downloads are kept in. */
  readonly cache: string
  /** Bytes of this model that have arrived, those of earlier tries included, and bytes in all. */
  readonly onProgress: (received: number, total: number) => void
}

/** A hub that has sent nothing for so long will not send anything. */
const STALL_MS = 60_000

/**
 * The folder of a model of the hub, downloaded if it is not yet here. Every file is checked against the hub's hash of it.
 * Where the hub does not answer, what was downloaded whole before under that name is used.
 * @throws NodeError `BASE_DOWNLOAD_FAILED`
 */
export async function fetchBase(id: string, options: HubOptions): Promise<string> {
  const { name, revision = 'main' } = parseHubId(id)!
  const kept = join(options.cache, folderOfName(name))
  const line = createLine(options)
  try {
    const { sha } = await modelInfo({ name, revision, additionalFields: ['sha'], ...line.access })
    if (!/^[0-9a-f]{40}$/.test(sha)) throw new Error(`"${sha}" is not a commit`)
    const folder = join(kept, sha)
    await download(name, sha, folder, line, options.onProgress)
    await replaceFile(refOf(kept, revision), sha)
    return folder
  } catch (error) {
    const known = isUnanswered(error) ? await earlier(kept, revision) : undefined
    if (known !== undefined) return known
    throw new NodeError(
      { code: 'BASE_DOWNLOAD_FAILED', id, reason: reasonOf(error, options.url) },
      { cause: error },
    )
  } finally {
    line.close()
  }
}

/** Which commit a revision was when it was last downloaded whole. */
const refOf = (kept: string, revision: string): string => join(kept, `${revision}.ref`)

async function earlier(kept: string, revision: string): Promise<string | undefined> {
  const sha = await readFile(refOf(kept, revision), 'utf8').catch(() => undefined)
  return sha === undefined ? undefined : join(kept, sha)
}

/** Whether the hub said nothing, or not now: all else speaks of the model, and what is here may not be what was asked for. */
function isUnanswered(error: unknown): boolean {
  if (error instanceof HubApiError) return error.statusCode === 429 || error.statusCode >= 500
  // A TypeError with a cause is how fetch tells of a network that cannot be reached, or that breaks on the way.
  return error instanceof Stalled || (error instanceof TypeError && error.cause !== undefined)
}

class Stalled extends Error {
  constructor() {
    super(`nothing has come for ${STALL_MS / 1000} s`)
  }
}

/** What is needed to reach the hub, with a watch on the connection. */
function createLine({ url, token }: HubOptions) {
  const abort = new AbortController()
  const timer = setTimeout(() => abort.abort(new Stalled()), STALL_MS)
  const watched: typeof fetch = (input, init) => fetch(input, { ...init, signal: abort.signal })
  return {
    access: { hubUrl: url, fetch: watched, ...(token === undefined ? {} : { accessToken: token }) },
    /** A file as it comes. (The library's stream tells only the text of what went wrong, not what it was.) */
    async open(name: string, sha: string, path: string): Promise<AsyncIterable<Uint8Array>> {
      const response = await watched(`${url}/${name}/resolve/${sha}/${path}`, {
        headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
      })
      if (response.status === 404) throw new Error(`the hub lists ${path} but does not have it`)
      if (!response.ok) throw new HubApiError(response.url, response.status)
      return Readable.fromWeb(response.body as ReadableStream<Uint8Array>)
    },
    alive: () => void timer.refresh(),
    close: () => clearTimeout(timer),
  }
}
type Line = ReturnType<typeof createLine>

async function download(
  name: string,
  sha: string,
  folder: string,
  line: Line,
  onProgress: HubOptions['onProgress'],
): Promise<void> {
  const listed: ListFileEntry[] = []
  for await (const entry of listFiles({ repo: name, revision: sha, ...line.access })) listed.push(entry)
  const files = filesOfBase(listed)
  const total = files.reduce((sum, { size }) => sum + size, 0)
  let received = 0
  await mkdir(folder, { recursive: true })
  await removeAbandoned(folder)
  for (const file of files) {
    const path = join(folder, file.path)
    if ((await stat(path).catch(() => undefined))?.size === file.size) {
      received += file.size
      continue
    }
    const bytes = await line.open(name, sha, file.path)
    // A name that nobody else writes to: another process may be downloading the same.
    const incomplete = `${path}.${randomUUID()}${INCOMPLETE}`
    try {
      const watched = checked(bytes, file, (length) => {
        line.alive()
        received += length
        onProgress(received, total)
      })
      await pipeline(watched, createWriteStream(incomplete))
      await rename(incomplete, path)
    } finally {
      await rm(incomplete, { force: true })
    }
  }
}

const INCOMPLETE = '.incomplete'

/** What downloads left behind that were killed: one that goes on has written something since it could have stalled. */
async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.endsWith(INCOMPLETE)) continue
    const path = join(folder, name)
    const found = await stat(path).catch(() => undefined) // its owner may just have finished
    if (found !== undefined && Date.now() - found.mtimeMs > 2 * STALL_MS) await rm(path, { force: true })
  }
}

const WEIGHTS = /^model(-\d{5}-of-\d{5})?\.safetensors$/

/** Names are matched against what we know: they become paths. */
function filesOfBase(listed: readonly ListFileEntry[]): ListFileEntry[] {
  const has = (path: string) => listed.some((entry) => entry.path === path)
  const single = has('model.safetensors')
  const wanted = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors.index.json']
  const files = listed.filter(({ path, type }) => {
    if (type !== 'file') return false
    return WEIGHTS.test(path) ? !single || path === 'model.safetensors' : wanted.includes(path)
  })
  for (const needed of ['config.json', 'tokenizer.json'])
    if (!has(needed)) throw new Error(`it has no ${needed}`)
  if (!files.some(({ path }) => WEIGHTS.test(path)))
    throw new Error('it has no weights in safetensors (model.safetensors)')
  return files
}

/** Passes bytes on, and throws at the end if they are not what the hub says the file is. */
async function* checked(
  bytes: AsyncIterable<Uint8Array>,
  { path, size, oid, lfs }: ListFileEntry,
  onBytes: (length: number) => void,
): AsyncGenerator<Uint8Array> {
  // Large files are named by their SHA-256, small ones as git names its blobs.
  const hash = createHash(lfs === undefined ? 'sha1' : 'sha256')
  if (lfs === undefined) hash.update(`blob ${size}\0`)
  let length = 0
  for await (const piece of bytes) {
    hash.update(piece)
    length += piece.byteLength
    if (length > size) break
    onBytes(piece.byteLength)
    yield piece
  }
  if (length !== size)
    throw new Error(`${path} should have ${size} bytes, the hub sent ${length > size ? 'more' : length}`)
  if (hash.digest('hex') !== (lfs?.oid ?? oid))
    throw new Error(`${path} does not have the hash that the hub says it has`)
}

function reasonOf(error: unknown, url: string): string {
  if (error instanceof HubApiError) {
    if (error.statusCode === 404 || error.statusCode === 401)
      return `${url} has no such model, or does not show it to you (HF_TOKEN)`
    if (error.statusCode === 403) return `its owner has not given you access to it (HF_TOKEN)`
    return `${url} answers with status ${error.statusCode}`
  }
  if (!(error instanceof Error)) return String(error)
  // fetch says only "fetch failed"; why is in the cause.
  const cause = error.cause instanceof Error ? error.cause : undefined
  return cause === undefined ? error.message : `${url} cannot be reached (${cause.message})`
}
