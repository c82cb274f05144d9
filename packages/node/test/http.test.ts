import { request } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { type HttpInit, type HttpServer, startHttp } from '../src/http/server.ts'

interface Answer {
  readonly code: number
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
        response.on('end', () => resolve({ code: response.statusCode!, body }))
      },
    )
    sent.on('error', reject)
    sent.end(options.body)
  })
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
      onRefused: (reason) => refused.push(reason),
      ...change,
    })
    return server.url
  }
  afterEach(() => server.stop())

  it('serves metrics, health and status to its own address', async () => {
    const url = await start()
    expect(await ask(`${url}/metrics`)).toEqual({ code: 200, body: 'comigs_round 3\n' })
    expect((await ask(`${url}/healthz`)).code).toBe(200)
    expect((await ask(`${url}/readyz`)).code).toBe(200)
    expect(JSON.parse((await ask(`${url}/api/status`)).body)).toEqual({ phase: 'training' })
  })

  it('is not ready before training', async () => {
    const url = await start({ ready: () => false })
    expect((await ask(`${url}/readyz`)).code).toBe(503)
    expect((await ask(`${url}/healthz`)).code).toBe(200)
  })

  it.each(['/metrics', '/healthz', '/api/status', '/nothing'])(
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
    const url = await start({ names: ['peer'] })
    for (const host of ['localhost:1234', 'peer:9464', 'PEER', '[::1]:80']) {
      expect((await ask(`${url}/metrics`, { headers: { host } })).code, host).toBe(200)
    }
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
    expect((await ask(`${url}/api/status`, { headers: { authorization: 'Bearer secre' } })).code).toBe(401)
    expect((await ask(`${url}/api/status`, { headers: { authorization: 'Bearer secret' } })).code).toBe(200)
  })
})

describe('starting the HTTP server', () => {
  const init: HttpInit = {
    host: '127.0.0.1',
    port: 0,
    names: [],
    token: undefined,
    metrics: async () => '',
    ready: () => true,
    status: () => ({}),
    onRefused: () => undefined,
  }
  it('says which port is in use', async () => {
    const first = await startHttp(init)
    const port = Number(new URL(first.url).port)
    await expect(startHttp({ ...init, port })).rejects.toMatchObject({
      detail: { code: 'PORT_IN_USE', address: `127.0.0.1:${port}` },
    })
    await first.stop()
  })
  it('wants a token off loopback', async () => {
    await expect(startHttp({ ...init, host: '0.0.0.0' })).rejects.toMatchObject({
      detail: { code: 'OPTION_INVALID' },
    })
  })
})
