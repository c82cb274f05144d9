import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { NodeError } from '../src/errors.ts'
import '../src/polyfill.ts'
import { fetchBase, type HubOptions } from '../src/hub.ts'
import { isHubId } from '../src/hub-name.ts'

const SHA = '0123456789abcdef0123456789abcdef01234567'
const LATER_SHA = SHA.replaceAll('0', 'f')
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
  /** It answers everything with this status. */
  status?: number
  /** Sends the weights in its own way. */
  sendWeights?: (response: ServerResponse) => void
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
      if (hub.status !== undefined) return json({ error: 'not now' }, hub.status)
      const revision = /^\/api\/models\/some\/model\/revision\/(.+)$/.exec(pathname)?.[1]
      if (revision !== undefined && revision in hub.revisions)
        return json({ _id: '1', id: 'some/model', sha: hub.revisions[revision], lastModified: '2024-01-01' })
      if (/^\/api\/models\/some\/model\/tree\/[0-9a-f]{40}$/.test(pathname)) {
        return json(
          Object.entries(hub.files).map(([path, bytes]) => ({
            ...{ type: 'file', path, size: bytes.length, oid: hub.lies[path] ?? gitBlob(bytes) },
            ...(path.endsWith('.safetensors')
              ? { lfs: { oid: hub.lies[path] ?? sha256(bytes), size: bytes.length, pointerSize: 130 } }
              : {}),
          })),
        )
      }
      const file = pathname.replace(/^\/some\/model\/resolve\/[0-9a-f]{40}\//, '')
      const bytes = hub.files[file]
      if (bytes === undefined) return json({ error: 'Repository not found' }, 404)
      if (file === 'model.safetensors' && hub.sendWeights !== undefined) return hub.sendWeights(response)
      return response.writeHead(200).end(bytes)
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

  it.each([429, 503])('is taken from the cache when the hub answers with status %i', async (status) => {
    const folder = await fetchBase('some/model', options)
    hub.status = status
    expect(await fetchBase('some/model', options)).toBe(folder)
    hub.revisions['v2'] = SHA
    expect(await refusal('some/model@v2')).toContain(`status ${status}`)
  })

  /** The folder of a commit that was downloaded whole; the hub has gone on to another since. */
  const superseded = async () => {
    const folder = await fetchBase('some/model', options)
    hub.revisions['main'] = LATER_SHA
    return folder
  }

  it('is taken from the cache when the connection breaks on the way', async () => {
    const folder = await superseded()
    hub.sendWeights = (response) => {
      response.writeHead(200, { 'Content-Length': WEIGHTS.length })
      response.write(WEIGHTS.slice(0, 1000), () => response.destroy())
    }
    expect(await fetchBase('some/model', options)).toBe(folder)
    expect(await contents(folder)).toEqual(SINGLE)
    const left = await readdir(join(options.cache, 'some--model', LATER_SHA))
    expect(left).not.toContainEqual(expect.stringMatching(/incomplete$/))
  })

  it.each(['changed', 'gone'])(
    'is not taken from the cache when what the hub says is wrong: %s',
    async (how) => {
      await superseded()
      if (how === 'changed') hub.lies['model.safetensors'] = sha256('x')
      else hub.sendWeights = (response) => response.writeHead(404).end()
      expect(await refusal()).toMatch(/does not have (the hash|it)/)
    },
  )

  it('is not taken from the cache when it has become another kind of model', async () => {
    await superseded()
    delete hub.files['config.json']
    expect(await refusal()).toContain('it has no config.json')
  })

  it('is whole for each of two that download it at once', async () => {
    const [firstIsHere, secondHasBegun] = [
      Promise.withResolvers<undefined>(),
      Promise.withResolvers<undefined>(),
    ]
    let asked = 0
    hub.sendWeights = (response) => {
      const mayEnd = ++asked === 1 ? secondHasBegun : firstIsHere
      response.write(WEIGHTS.slice(0, 100_000))
      if (asked === 2) secondHasBegun.resolve(undefined)
      void mayEnd.promise.then(() => response.end(WEIGHTS.slice(100_000)))
    }
    const both = [fetchBase('some/model', options), fetchBase('some/model', options)]
    const folder = await Promise.race(both)
    expect(await readFile(join(folder, 'model.safetensors'), 'utf8')).toBe(WEIGHTS)
    firstIsHere.resolve(undefined)
    expect(await Promise.all(both)).toEqual([folder, folder])
    expect(await contents(folder)).toEqual(SINGLE)
  })

  it('leaves nothing behind of a download that was killed', async () => {
    const folder = await fetchBase('some/model', options)
    const [abandoned, going] = ['one.incomplete', 'other.incomplete'].map((name) => join(folder, name))
    for (const path of [abandoned!, going!]) await writeFile(path, 'some of it')
    await utimes(abandoned!, 0, 0)
    await fetchBase('some/model', options)
    expect((await readdir(folder)).filter((name) => name.endsWith('.incomplete'))).toEqual([
      'other.incomplete',
    ])
  })

  it('has a name that is no path', () => {
    for (const id of ['openai-community/gpt2', 'a/b@main', 'a/b.c-d_e']) expect(isHubId(id), id).toBe(true)
    for (const path of ['./base', '../x', '/a/b', 'a', 'a/b/c', 'a/..', '~/x', 'a/b@../c'])
      expect(isHubId(path), path).toBe(false)
  })
})
