import { type IncomingHttpHeaders, request } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import type { TextService } from '../src/text/text-service.ts'
import { type HttpInit, type HttpServer, startHttp } from '../src/http/server.ts'

interface Answer {
  readonly code: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** Not fetch: it does not let a caller lie about Host. */
function ask(
  url: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      { method: options.method ?? 'GET', headers: options.headers ?? {} },
      (response) => {
        let body = ''
        response.on('data', (data: Buffer) => (body += data.toString()))
        response.on('end', () => resolve({ code: response.statusCode!, headers: response.headers, body }))
      },
    )
    sent.on('error', reject)
    sent.end(options.body)
  })
}

/** These tests never get as far as a model; test/cli/text.test.ts does. */
const text: TextService = {
  positions: 8,
  countTokens: (prompt) => Promise.resolve(prompt.length),
  write: () => {
    throw new Error('nothing should be written')
  },
}

const init: HttpInit = {
  host: '127.0.0.1',
  port: 0,
  names: [],
  token: undefined,
  metrics: async () => '',
  ready: () => true,
  status: () => ({}),
  text,
  onRefused: () => undefined,
}

describe('the HTTP server', () => {
  let server: HttpServer
  const refused: string[] = []
  const start = async (change: Partial<HttpInit> = {}) => {
    refused.length = 0
    server = await startHttp({
      host: '127.0.0.1',
      port: 0,
      names: [],
      token: undefined,
      metrics: async () => 'comigs_round 3\n',
      ready: () => true,
      status: () => ({ phase: 'training' }),
      text,
      onRefused: (reason) => refused.push(reason),
      ...change,
    })
    return server.url
  }
  afterEach(() => server.stop())

  it('serves metrics, health and status to its own address', async () => {
    const url = await start()
    expect(await ask(`${url}/metrics`)).toMatchObject({ code: 200, body: 'comigs_round 3\n' })
    expect((await ask(`${url}/healthz`)).code).toBe(200)
    expect((await ask(`${url}/readyz`)).code).toBe(200)
    expect(JSON.parse((await ask(`${url}/api/status`)).body)).toEqual({ phase: 'training' })
  })

  it('is not ready before training', async () => {
    const url = await start({ ready: () => false })
    expect((await ask(`${url}/readyz`)).code).toBe(503)
    expect((await ask(`${url}/healthz`)).code).toBe(200)
  })

  it.each(['/metrics', '/healthz', '/api/status', '/v1/models', '/nothing'])(
    'refuses a foreign Host at %s',
    async (path) => {
      const url = await start()
      for (const host of [
        'evil.example',
        'evil.example:80',
        '127.0.0.1.evil.example',
        '192.0.2.99',
        'localhost.evil',
      ]) {
        const { code, body } = await ask(url + path, { headers: { host } })
        expect(code, host).toBe(421)
        expect(body).not.toContain('comigs_round')
      }
      expect(new Set(refused)).toEqual(new Set(['host']))
    },
  )

  it('answers to localhost and to names that it was given', async () => {
    const url = await start({ names: ['peer', 'My-Desk'] })
    for (const host of ['localhost:1234', 'peer:9464', 'PEER', '[::1]:80', 'my-desk']) {
      expect((await ask(`${url}/metrics`, { headers: { host } })).code, host).toBe(200)
    }
  })

  it('lets a proxy speak TLS under a name that it was given, and under no other', async () => {
    const url = await start({ names: ['peer'] })
    const from = async (host: string, origin: string) =>
      (await ask(`${url}/api/status`, { headers: { host, origin } })).code
    expect(await from('peer', 'https://peer')).toBe(200)
    expect(await from('peer', 'https://evil.example')).toBe(403)
    expect(await from('localhost', 'https://localhost')).toBe(403)
  })

  it('refuses a foreign Origin and offers no CORS', async () => {
    const url = await start()
    for (const origin of ['http://evil.example', 'null', 'http://127.0.0.1:1', 'https://127.0.0.1']) {
      expect((await ask(`${url}/api/status`, { headers: { origin } })).code, origin).toBe(403)
    }
    expect((await ask(`${url}/api/status`, { headers: { origin: url } })).code).toBe(200)
    expect((await ask(`${url}/api/status`, { method: 'OPTIONS' })).code).toBeGreaterThanOrEqual(400)
  })

  it('refuses what a form could send', async () => {
    const url = await start()
    const form = {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'a=1',
    }
    expect((await ask(`${url}/api/status`, form)).code).toBe(415)
    expect(
      (await ask(`${url}/api/status`, { method: 'POST', headers: { 'content-type': 'text/plain' } })).code,
    ).toBe(415)
    expect(new Set(refused)).toEqual(new Set(['content-type']))
  })

  it('off loopback asks for the token, but not for health and metrics', async () => {
    const url = await start({ host: '0.0.0.0', token: 'secret' })
    expect((await ask(`${url}/metrics`)).code).toBe(200)
    expect((await ask(`${url}/healthz`)).code).toBe(200)
    expect((await ask(`${url}/api/status`)).code).toBe(401)
    expect((await ask(`${url}/v1/models`)).code).toBe(401)
    expect((await ask(`${url}/api/status`, { headers: { authorization: 'Bearer secre' } })).code).toBe(401)
    expect((await ask(`${url}/api/status`, { headers: { authorization: 'Bearer secret' } })).code).toBe(200)
  })

  it('tells a status from the round that was asked for', async () => {
    const url = await start({ status: (after) => ({ after }) })
    const after = async (query: string) =>
      (JSON.parse((await ask(`${url}/api/status${query}`)).body) as { after: number }).after
    expect(await after('')).toBe(0)
    expect(await after('?after=7')).toBe(7)
    expect(await after('?after=x&after=y')).toBe(0)
  })
})

describe('the page', () => {
  let server: HttpServer
  afterEach(() => server.stop())

  it('is whole: every file that it names is there, of the right type, for its own scripts only', async () => {
    server = await startHttp(init)
    const page = await ask(server.url)
    expect(page.headers['content-type']).toMatch(/^text\/html/)
    const files = [...page.body.matchAll(/(?:src|href)="(page\/[^"]+)"/g)].map(([, path]) => path!)
    expect(files).toHaveLength(5)
    const { body } = await ask(`${server.url}/page/main.js`)
    const modules = [...body.matchAll(/from ["']\.\/([^"']+)["']/g)].map(([, name]) => `page/${name!}`)
    expect(modules.length).toBeGreaterThan(2)
    for (const path of [...files, ...modules]) {
      const { code, headers } = await ask(`${server.url}/${path}`)
      expect(code, path).toBe(200)
      expect(headers['content-type'], path).toMatch(/^(text\/(css|javascript)|image\/svg)/)
    }
    const policy = page.headers['content-security-policy']
    expect(policy).toContain("default-src 'none'; script-src 'self';")
    expect(policy).not.toContain('unsafe')
    expect(page.headers['x-content-type-options']).toBe('nosniff')
  })

  it('is not for a foreign Host, and has no way out of its folder', async () => {
    server = await startHttp(init)
    expect((await ask(server.url, { headers: { host: 'evil.example' } })).code).toBe(421)
    for (const path of ['/page/', '/page/../package.json', '/page/%2e%2e/package.json', '/page/main.ts'])
      expect((await ask(server.url + path)).code, path).toBe(404)
  })

  it('off loopback comes without the token, which it asks for; the figures do not', async () => {
    server = await startHttp({ ...init, host: '0.0.0.0', token: 'secret' })
    expect((await ask(server.url)).code).toBe(200)
    expect((await ask(`${server.url}/page/main.js`)).code).toBe(200)
    expect((await ask(`${server.url}/api/status?/page/main.js`)).code).toBe(401)
    expect((await ask(`${server.url}//`)).code).toBe(401)
  })
})

describe("OpenAI's routes", () => {
  let server: HttpServer
  afterEach(() => server.stop())

  const post = async (path: string, body: unknown) => {
    server = await startHttp(init)
    const headers = { 'content-type': 'application/json' }
    const sent = typeof body === 'string' ? body : JSON.stringify(body)
    const answer = await ask(`${server.url}/v1${path}`, { method: 'POST', headers, body: sent })
    return { ...answer, error: (JSON.parse(answer.body) as { error: Record<string, unknown> }).error }
  }
  const good = { model: 'personal', prompt: 'Once' }
  const chat = (messages: unknown) => ({ model: 'personal', messages })

  it.each([
    ['what is not JSON', '/completions', '{', 400, null],
    ['what is no object', '/completions', '[]', 400, ''],
    ['nothing', '/completions', '', 400, null],
    ['no model', '/completions', { prompt: 'x' }, 400, 'model'],
    ['a prompt of tokens', '/completions', { ...good, prompt: [1, 2] }, 400, 'prompt'],
    ['several prompts', '/completions', { ...good, prompt: ['a', 'b'] }, 400, 'prompt'],
    ['no room', '/completions', { ...good, max_tokens: 0 }, 400, 'max_tokens'],
    ['too much', '/completions', { ...good, max_tokens: 1e9 }, 400, 'max_tokens'],
    ['a temperature below zero', '/completions', { ...good, temperature: -1 }, 400, 'temperature'],
    ['an empty nucleus', '/completions', { ...good, top_p: 0 }, 400, 'top_p'],
    ['an empty stop sequence', '/completions', { ...good, stop: '' }, 400, 'stop'],
    ['many stop sequences', '/completions', { ...good, stop: ['a', 'b', 'c', 'd', 'e'] }, 400, 'stop'],
    ['several answers', '/completions', { ...good, n: 2 }, 400, 'n'],
    ['probabilities', '/completions', { ...good, logprobs: 3 }, 400, 'logprobs'],
    ['a penalty', '/completions', { ...good, presence_penalty: 0.5 }, 400, 'presence_penalty'],
    ['no messages', '/chat/completions', chat([]), 400, 'messages'],
    ['an unknown role', '/chat/completions', chat([{ role: 'cat', content: '' }]), 400, 'messages.0.role'],
    [
      'a picture',
      '/chat/completions',
      chat([{ role: 'user', content: [{ type: 'image_url' }] }]),
      400,
      'messages.0.content',
    ],
    [
      'a tool',
      '/chat/completions',
      { ...chat([{ role: 'user', content: 'x' }]), tools: [{ type: 'function' }] },
      400,
      'tools',
    ],
    ['a model that is not there', '/completions', { ...good, model: 'gpt-5' }, 404, 'model'],
    ['a path that is not there', '/embeddings', good, 404, null],
    ['a body that is too large', '/completions', { ...good, prompt: 'x'.repeat(2 << 20) }, 413, null],
    ['a prompt that does not fit', '/completions', { ...good, prompt: 'too long!' }, 400, 'prompt'],
    ['a prompt far too long', '/completions', { ...good, prompt: 'x'.repeat(1 << 16) }, 400, 'prompt'],
  ])('refuse %s as OpenAI would', async (_, path, body, status, param) => {
    const { code, error } = await post(path, body)
    expect(code).toBe(status)
    expect(error).toMatchObject({ type: 'invalid_request_error', param })
    expect(error['message']).toEqual(expect.stringMatching(/.{10,}/))
    expect(Object.keys(error).sort()).toEqual(['code', 'message', 'param', 'type'])
  })

  it('say which limit a prompt exceeds', async () => {
    const { error } = await post('/completions', { ...good, prompt: 'too long!' })
    expect(error).toMatchObject({ code: 'context_length_exceeded' })
    expect(error['message']).toContain('9 tokens')
  })

  it.each([
    [{ n: 2 }, "'n': is not supported: leave it out, or say 1"],
    [{ logprobs: 3 }, "'logprobs': is not supported: leave it out, or say false or 0"],
    [{ tools: [{}] }, "'tools': is not supported: leave it out"],
    [{ tools: { a: 1 } }, "'tools': is not supported: leave it out"],
    [{ audio: {} }, "'audio': is not supported: leave it out"],
  ])('say of %j what is not there', async (asked, message) => {
    expect((await post('/completions', { ...good, ...asked })).error).toMatchObject({ message })
  })

  it('let neutral values of what they do not have pass', async () => {
    const neutral = {
      n: 1,
      best_of: 1,
      echo: false,
      logit_bias: {},
      presence_penalty: 0,
      suffix: null,
      user: 'me',
    }
    // Past all checks, this server's text service fails: an error of the server, not of the request.
    const { code, error } = await post('/completions', { ...good, ...neutral })
    expect(code).toBe(500)
    expect(error).toMatchObject({ type: 'server_error' })
  })
})

describe('starting the HTTP server', () => {
  it('says which port is in use', async () => {
    const first = await startHttp(init)
    const port = Number(new URL(first.url).port)
    await expect(startHttp({ ...init, port })).rejects.toMatchObject({
      detail: { code: 'PORT_IN_USE', address: `127.0.0.1:${port}` },
    })
    await first.stop()
  })
  it('says of an address that is not of this machine why it cannot be', async () => {
    const elsewhere = { ...init, host: '192.0.2.1', token: 'secret' }
    await expect(startHttp(elsewhere)).rejects.toMatchObject({
      detail: { code: 'ADDRESS_UNUSABLE', address: `192.0.2.1:${init.port}` },
    })
  })
  it('wants a token off loopback', async () => {
    await expect(startHttp({ ...init, host: '0.0.0.0' })).rejects.toMatchObject({
      detail: { code: 'OPTION_INVALID' },
    })
  })
})
