import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { timingSafeEqual } from 'node:crypto'
import { type AddressInfo, isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { NodeError } from '../errors.ts'
import type { TextService } from '../text/text-service.ts'
import { addOpenAiRoutes } from './openai.ts'
import { addPage, PAGE_HEADERS, readPage } from './page.ts'

export interface ListenInit {
  /** Address to listen on. */
  readonly host: string
  /** 0: the system chooses. */
  readonly port: number
  /** Names, beside our addresses, that a request may call us by: a container's service name, a proxy's. */
  readonly names: readonly string[]
  /** Asked for (`Authorization: Bearer …`) by everything that is not health or metrics, when not on loopback. */
  readonly token: string | undefined
  onRefused(reason: Refusal['reason']): void
}

export interface HttpInit extends ListenInit {
  metrics(): Promise<string>
  ready(): boolean
  /** @param after - rounds up to this one are not asked for */
  status(after: number): unknown
  readonly text: TextService
}

export interface HttpServer {
  /** Where to find it: `http://127.0.0.1:43211`. */
  readonly url: string
  stop(): Promise<void>
}

const LOOPBACK = ['127.0.0.1', '::1', 'localhost']
/** Machines ask these; they tell numbers, not text. (The page's own files tell nothing.) */
const OPEN_PATHS = ['/metrics', '/healthz', '/readyz']

/** A peer's own HTTP server: metrics, health, status, text and the page. */
export function startHttp(init: HttpInit): Promise<HttpServer> {
  return listen(init, (server) => {
    addRoutes(server, init)
  })
}

/** @throws NodeError `OPTION_INVALID` when a token is missing off loopback */
export function requireToken(host: string, token: string | undefined): void {
  if (LOOPBACK.includes(host) || (token !== undefined && token !== '')) return
  const reason =
    'is not a loopback address: give --http-token too, since whoever holds it can query the model'
  throw new NodeError({ code: 'OPTION_INVALID', option: '--http', value: host, reason })
}

/**
 * Serves the page and some routes. A web page that the user happens to visit must not be able to reach a model of private
 * text: the Host must be one of ours (against DNS rebinding), an Origin must be our own, there is no CORS, and whatever
 * changes or queries anything must be JSON, which no form can send.
 * @throws NodeError `PORT_IN_USE`, `ADDRESS_UNUSABLE`, `OPTION_INVALID` when a token is missing off loopback
 */
export async function listen(
  init: ListenInit,
  addRoutes: (server: FastifyInstance) => void,
): Promise<HttpServer> {
  requireToken(init.host, init.token)
  const onLoopback = LOOPBACK.includes(init.host)
  const page = await readPage()
  const server = fastify({ logger: false, bodyLimit: 1 << 20, trustProxy: false })
  const isOpen = (path: string) => OPEN_PATHS.includes(path) || page.has(path)
  server.addHook('onRequest', (request, response, done) => {
    response.headers(PAGE_HEADERS)
    const refusal = refusalOf(request, init, onLoopback || isOpen(request.url.split('?')[0]!))
    if (refusal === undefined) {
      done()
      return
    }
    const { status, reason, message } = refusal
    init.onRefused(reason)
    // As OpenAI's errors are made, so that its clients show the message.
    const error = { message, type: 'invalid_request_error', param: null, code: reason }
    void response.code(status).send({ error })
  })
  addPage(server, page)
  addRoutes(server)
  try {
    await server.listen({ host: init.host, port: init.port })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const where = { what: 'HTTP', address: `${init.host}:${init.port}` }
    throw new NodeError(
      code === 'EADDRINUSE'
        ? { code: 'PORT_IN_USE', ...where }
        : { code: 'ADDRESS_UNUSABLE', ...where, reason: message },
      { cause: error },
    )
  }
  const { port } = server.server.address() as AddressInfo
  const shown = init.host === '0.0.0.0' ? '127.0.0.1' : isIPv6(init.host) ? `[${init.host}]` : init.host
  return {
    url: `http://${shown}:${port}`,
    stop: async () => {
      server.server.closeAllConnections()
      await server.close()
    },
  }
}

function addRoutes(server: FastifyInstance, init: HttpInit): void {
  server.get('/metrics', async (_, response) => {
    await response.type('text/plain; version=0.0.4; charset=utf-8').send(await init.metrics())
  })
  server.get('/healthz', () => ({ status: 'ok' }))
  server.get('/readyz', async (_, response) => {
    await response.code(init.ready() ? 200 : 503).send({ status: init.ready() ? 'ready' : 'starting' })
  })
  server.get('/api/status', (request) => init.status(roundAfter(request)))
  addOpenAiRoutes(server, init.text)
}

/** `?after=<round>` of a request for a status; everything without it. */
export function roundAfter({ query }: FastifyRequest): number {
  return Number((query as { readonly after?: string }).after) || 0
}

interface Refusal {
  readonly status: number
  readonly reason: 'host' | 'origin' | 'content-type' | 'token'
  readonly message: string
}

function refusalOf(request: FastifyRequest, init: ListenInit, isFree: boolean): Refusal | undefined {
  const { host, origin, 'content-type': type = '' } = request.headers
  if (!isOurs(host, init))
    return { status: 421, reason: 'host', message: 'this server does not answer to that Host' }
  if (origin !== undefined && origin !== `http://${host ?? ''}` && !isByProxy(origin, host, init))
    return { status: 403, reason: 'origin', message: 'requests from other origins are refused' }
  const changes = request.method !== 'GET' && request.method !== 'HEAD'
  if (changes && !/^application\/json\b/.test(type))
    return { status: 415, reason: 'content-type', message: 'send application/json' }
  if (!isFree && !hasToken(request, init.token)) {
    const message = 'send the token given with --http-token as Authorization: Bearer'
    return { status: 401, reason: 'token', message }
  }
  return undefined
}

/** A Host header without its port. */
const nameOf = (host: string): string =>
  host
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase()

const isNamed = (host: string, names: readonly string[]): boolean =>
  names.some((one) => one.toLowerCase() === nameOf(host))

function hasToken(request: FastifyRequest, token = ''): boolean {
  const given = Buffer.from(request.headers.authorization ?? '')
  const expected = Buffer.from(`Bearer ${token}`)
  return given.length === expected.length && timingSafeEqual(given, expected)
}

/** Under a name that we were given, a proxy may speak TLS for us. */
const isByProxy = (origin: string, host: string | undefined, { names }: ListenInit): boolean =>
  origin === `https://${host ?? ''}` && isNamed(host ?? '', names)

/** One of our addresses or names. An address cannot be rebound; a name that we do not know could be anyone's. */
function isOurs(host: string | undefined, { host: listen, names }: ListenInit): boolean {
  if (host === undefined) return false
  if (isNamed(host, [...LOOPBACK, listen, ...names])) return true
  const name = nameOf(host)
  return Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some(({ address }) => address === name),
  )
}
