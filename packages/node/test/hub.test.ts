import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { NodeError } from '../src/errors.ts'
import { fetchBase, type HubOptions, isHubId } from '../src/hub.ts'

const SHA = '0123456789abcdef0123456789abcdef01234567'
const sha256 = (bytes: string) => createHash('sha256').update(bytes).digest('hex')
const gitBlob = (bytes: string) => createHash('sha1').update(`blob ${bytes.length}\0${bytes}`).digest('hex')

const WEIGHTS = 'weights '.repeat(20_000)
const SINGLE = {
  'config.json': '{"model_type":"gpt2"}',
  'tokenizer.json': '{"tokens":[]}',
  'model.safetensors': WEIGHTS,
}

/** The endpoints of the hub that the library asks, as the hub answers them. */
interface FakeHub {
  files: Record<string, string>
  /** What it says a file's hash is, where that is not the truth. */
  lies: Record<string, string>
  revisions: Record<string, string>
  /** Paths asked for. */
  readonly asked: string[]
  tokens: (string | undefined)[]
}

describe('a base from the hub', () => {
  let hub: FakeHub
  let server: ReturnType<typeof createServer>
  let options: HubOptions
  let seen: [number, number][]

  beforeEach(async () => {
    hub = { files: { ...SINGLE }, lies: {}, revisions: { main: SHA }, asked: [], tokens: [] }
    server = createServer((request, response) => {
      const { pathname } = new URL(request.url!, 'http://hub')
      hub.asked.push(pathname)
      hub.tokens.push(request.headers.authorization)
      const json = (value: unknown, status = 200) =>
        response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(value))
      const revision = /^\/api\/models\/some\/model\/revision\/(.+)$/.exec(pathname)?.[1]
      if (revision !== undefined && revision in hub.revisions)
        return json({ _id: '1', id: 'some/model', sha: hub.revisions[revision], lastModified: '2024-01-01' })
      if (pathname === `/api/models/some/model/tree/${SHA}`) {
        return json(
          Object.entries(hub.files).map(([path, bytes]) => ({
            ...{ type: 'file', path, size: bytes.length, oid: hub.lies[path] ?? gitBlob(bytes) },
            ...(path.endsWith('.safetensors')
              ? { lfs: { oid: hub.lies[path] ?? sha256(bytes), size: bytes.length, pointerSize: 130 } }
              : {}),
          })),
        )
      }
      const file = pathname.replace(`/some/model/resolve/${SHA}/`, '')
      const bytes = hub.files[file]
      if (bytes === undefined) return json({ error: 'Repository not found' }, 404)
      const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
      const headers = { ETag: `"${gitBlob(bytes)}"` }
      if (range === null) return response.writeHead(200, headers).end(bytes)
      const [from, to] = [Number(range[1]), range[2] === '' ? bytes.length - 1 : Number(range[2])]
      return response
        .writeHead(206, { ...headers, 'Content-Range': `bytes ${from}-${to}/${bytes.length}` })
        .end(bytes.slice(from, to + 1))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    seen = []
    options = {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      token: undefined,
      cache: await mkdtemp(join(tmpdir(), 'comigs-hub-')),
      onProgress: (received, total) => seen.push([received, total]),
    }
  })

  const goOffline = () => new Promise((resolve) => server.close(resolve).closeAllConnections())

  afterEach(async () => {
    if (server.listening) await goOffline()
    await rm(options.cache, { recursive: true })
  })

  const contents = async (folder: string) =>
    Object.fromEntries(
      await Promise.all(
        (await readdir(folder)).map(async (name) => [name, await readFile(join(folder, name), 'utf8')]),
      ),
    ) as Record<string, string>

  const refusal = async (id = 'some/model') => {
    const error: unknown = await fetchBase(id, options).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(NodeError)
    const { detail } = error as NodeError
    expect(detail).toMatchObject({ code: 'BASE_DOWNLOAD_FAILED', id })
    return 'reason' in detail ? detail.reason : ''
  }

  it('is downloaded whole, with progress up to the end', async () => {
    hub.files['README.md'] = 'not needed'
    hub.files['pytorch_model.bin'] = 'not wanted'
    const folder = await fetchBase('some/model', options)
    expect(folder).toBe(join(options.cache, 'some--model', SHA))
    expect(await contents(folder)).toEqual(SINGLE)
    const total = Object.values(SINGLE).join('').length
    expect(seen.at(-1)).toEqual([total, total])
    const received = seen.map(([bytes]) => bytes)
    expect(received).toEqual(received.toSorted((a, b) => a - b))
  })

  it('is downloaded once', async () => {
    await fetchBase('some/model', options)
    hub.asked.length = 0
    await fetchBase('some/model', options)
    expect(hub.asked.filter((path) => path.includes('/resolve/'))).toEqual([])
  })

  it('may lie in several files', async () => {
    const rest = { 'config.json': SINGLE['config.json'], 'tokenizer.json': SINGLE['tokenizer.json'] }
    const shards = {
      'model.safetensors.index.json': '{"weight_map":{}}',
      'model-00001-of-00002.safetensors': 'one',
      'model-00002-of-00002.safetensors': 'two',
    }
    hub.files = { ...rest, ...shards }
    expect(await contents(await fetchBase('some/model', options))).toEqual({ ...rest, ...shards })
  })

  it('may be one of its revisions', async () => {
    hub.revisions = { 'v1.0': SHA }
    expect(await contents(await fetchBase('some/model@v1.0', options))).toEqual(SINGLE)
    expect(await refusal('some/model@v2.0')).toContain('has no such model')
  })

  it('is asked for with a token', async () => {
    await fetchBase('some/model', { ...options, token: 'hf_secret' })
    expect(new Set(hub.tokens)).toEqual(new Set(['Bearer hf_secret']))
  })

  it.each(['model.safetensors', 'config.json'])(
    'is refused when its %s was changed on the way',
    async (file) => {
      hub.lies[file] = file === 'config.json' ? gitBlob('x') : sha256('x')
      expect(await refusal()).toContain(`${file} does not have the hash`)
      const kept = await readdir(join(options.cache, 'some--model', SHA))
      expect(kept.filter((name) => name.startsWith(file))).toEqual([])
    },
  )

  it.each([
    ['config.json', 'config.json'],
    ['tokenizer.json', 'tokenizer.json'],
    ['model.safetensors', 'no weights in safetensors'],
  ])('is refused without %s', async (file, reason) => {
    hub.files = Object.fromEntries(Object.entries(SINGLE).filter(([name]) => name !== file))
    expect(await refusal()).toContain(reason)
  })

  it('is refused when the hub names a commit that would lead elsewhere', async () => {
    hub.revisions = { main: '../../elsewhere' }
    expect(await refusal()).toContain('is not a commit')
  })

  it('that the hub does not have is refused in words', async () => {
    expect(await refusal('other/model')).toContain('has no such model')
  })

  it('is taken from the cache without a connection', async () => {
    const folder = await fetchBase('some/model', options)
    await goOffline()
    expect(await fetchBase('some/model', options)).toBe(folder)
  })

  it('that is not in the cache is refused without a connection', async () => {
    await goOffline()
    expect(await refusal()).toContain('cannot be reached')
  })

  it('has a name that is no path', () => {
    for (const id of ['openai-community/gpt2', 'a/b@main', 'a/b.c-d_e']) expect(isHubId(id), id).toBe(true)
    for (const path of ['./base', '../x', '/a/b', 'a', 'a/b/c', 'a/..', '~/x', 'a/b@../c'])
      expect(isHubId(path), path).toBe(false)
  })
})
