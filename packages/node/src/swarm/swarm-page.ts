import type { FastifyInstance } from 'fastify'
import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import type { PeerStatus, SwarmStatus } from '../events.ts'
import { type HttpServer, listen, roundAfter } from '../http/server.ts'
import { VERSION } from '../version.ts'
import type { ChildPeer } from './child-peer.ts'

/** One peer that hangs may not keep the page from showing the others. */
const STATUS_TIMEOUT_MS = 3000

/**
 * One page for all peers of a swarm. Peers refuse what comes from another origin than their own, so the browser asks the
 * swarm and the swarm asks the peers.
 */
export function startSwarmPage(peers: readonly ChildPeer[]): Promise<HttpServer> {
  const own = { host: '127.0.0.1', port: 0, names: [], token: undefined, onRefused: () => undefined }
  return listen(own, (server) => {
    addSwarmRoutes(server, peers)
  })
}

function addSwarmRoutes(server: FastifyInstance, peers: readonly ChildPeer[]): void {
  server.get('/api/status', async (request): Promise<SwarmStatus> => {
    const after = roundAfter(request)
    return { peers: await Promise.all(peers.map((peer) => statusOf(peer, after))) }
  })
  server.post<{ Params: { name: string } }>('/peers/:name/v1/completions', async (request, response) => {
    const http = peers.find(({ name }) => name === request.params.name)?.last('listening')?.http
    if (http === undefined) {
      const message = `no peer ${request.params.name} answers yet`
      return response.code(404).send({ error: { message } })
    }
    const gone = new AbortController()
    response.raw.on('close', () => gone.abort())
    const answer = await fetch(`${http}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request.body),
      signal: gone.signal,
    })
    return response
      .code(answer.status)
      .type(answer.headers.get('content-type') ?? 'application/json')
      .send(Readable.fromWeb(answer.body as ReadableStream))
  })
}

/** What a peer says of itself; nothing yet while it starts or when it has just ended. */
async function statusOf({ name, last }: ChildPeer, after: number): Promise<PeerStatus> {
  const starting = { name, version: VERSION, phase: 'starting', refusals: {}, rounds: [] } as const
  const http = last('listening')?.http
  if (http === undefined) return starting
  try {
    const signal = AbortSignal.timeout(STATUS_TIMEOUT_MS)
    const answer = await fetch(`${http}/api/status?after=${after}`, { signal })
    return (await answer.json()) as PeerStatus
  } catch {
    return starting
  }
}
