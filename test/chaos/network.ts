import type { Random } from '@comigs/protocol'
import { once } from 'node:events'
import { type AddressInfo, createServer, Socket } from 'node:net'
import { CALM, stallMs, type Weather } from './weather.ts'

/**
 * The network between peers' processes, in user space: a TCP server through which all their connections go (detour.mjs).
 * It delays, loses, cuts off, forgets and resets, each for pairs of peers, needs neither root nor namespaces, and works on
 * kernels without netem.
 */
export interface Network {
  readonly port: number
  /** Whose port is whose; before that nobody's connections to it can be cut. */
  listens(peer: string, port: number): void
  weather(weather: Weather): void
  /** From now on only peers of one group hear each other. Connections stay open, and nothing arrives. */
  partition(groups: readonly (readonly string[])[]): void
  heal(): void
  /** Breaks all connections of a peer; both sides are told. */
  reset(peer: string): void
  /** The open connections of a peer carry nothing any more, and nobody is told: what a router does that was restarted. */
  silence(peer: string): void
  stop(): Promise<void>
}

/** What may be under way in one direction of a connection; then its sender has to wait, as TCP's window has it. */
const WINDOW_BYTES = 1 << 18
const LONGEST_CALL_BYTES = 256

interface Connection {
  readonly from: string
  readonly to: string
  silent: boolean
  readonly sockets: Socket[]
  /** Delivers what is due. */
  readonly pumps: (() => void)[]
}

export async function startNetwork(random: Random): Promise<Network> {
  const owners = new Map<number, string>()
  const connections = new Set<Connection>()
  let weather = CALM
  let group = new Map<string, number>()

  const isCut = ({ from, to, silent }: Connection) => silent || group.get(from) !== group.get(to)
  const of = (peer: string) => [...connections].filter(({ from, to }) => from === peer || to === peer)

  const server = createServer({ allowHalfOpen: true }, (caller) => {
    caller.on('error', () => undefined)
    readCall(caller, (from, port, rest) => {
      const connection: Connection = {
        from,
        to: owners.get(port) ?? '',
        silent: false,
        sockets: [caller],
        pumps: [],
      }
      connections.add(connection)
      const callee = new Socket({ allowHalfOpen: true })
      callee.on('error', () => undefined)
      connection.sockets.push(callee)
      for (const socket of connection.sockets) {
        socket.on('close', () => {
          if (connection.sockets.every(({ destroyed }) => destroyed)) connections.delete(connection)
        })
      }
      const there = carry(connection, caller, callee)
      const back = carry(connection, callee, caller)
      connection.pumps.push(there.pump, back.pump)
      there.send(0, () => callee.connect(port, '127.0.0.1'))
      if (rest.byteLength > 0) there.send(rest.byteLength, () => callee.write(rest))
    })
  })

  /** Carries one direction of a connection, in order. */
  const carry = (connection: Connection, from: Socket, to: Socket) => {
    const queue: { readonly atMs: number; readonly bytes: number; deliver(): void }[] = []
    let underWay = 0
    let lastMs = 0
    let timer: NodeJS.Timeout | undefined

    const pump = () => {
      clearTimeout(timer)
      for (; !isCut(connection) && queue.length > 0; queue.shift()) {
        const { atMs, bytes, deliver } = queue[0]!
        const waitMs = atMs - Date.now()
        if (waitMs > 0) {
          timer = setTimeout(pump, waitMs)
          return
        }
        underWay -= bytes
        if (!to.destroyed) deliver()
        if (underWay < WINDOW_BYTES) from.resume()
      }
    }
    const send = (bytes: number, deliver: () => void) => {
      lastMs = Math.max(lastMs, Date.now() + weather.delayMs) + stallMs(bytes, weather, random)
      underWay += bytes
      queue.push({ atMs: lastMs, bytes, deliver })
      if (underWay >= WINDOW_BYTES) from.pause()
      pump()
    }
    let ended = false
    from.on('data', (chunk) => {
      send(chunk.byteLength, () => to.write(chunk))
    })
    from.on('end', () => {
      ended = true
      send(0, () => to.end())
    })
    from.on('close', () => {
      if (!ended) send(0, () => to.resetAndDestroy())
    })
    return { pump, send }
  }

  const pumpAll = () => {
    for (const { pumps } of connections) for (const pump of pumps) pump()
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    listens(peer, port) {
      owners.set(port, peer)
    },
    weather(next) {
      weather = next
    },
    partition(groups) {
      group = new Map(groups.flatMap((members, at) => members.map((peer) => [peer, at] as const)))
    },
    heal() {
      group = new Map()
      pumpAll()
    },
    reset(peer) {
      for (const { sockets } of of(peer)) for (const socket of sockets) socket.resetAndDestroy()
    },
    silence(peer) {
      for (const connection of of(peer)) connection.silent = true
    },
    async stop() {
      for (const { sockets } of connections) for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** The first line: who calls, and which port. */
function readCall(caller: Socket, answer: (from: string, port: number, rest: Buffer) => void): void {
  let heard = Buffer.alloc(0)
  const listen = (chunk: Buffer) => {
    heard = Buffer.concat([heard, chunk])
    const end = heard.indexOf('\n')
    if (end < 0 && heard.byteLength < LONGEST_CALL_BYTES) return
    caller.off('data', listen)
    const [from, port] = heard.subarray(0, Math.max(0, end)).toString().split(' ')
    if (from === undefined || !Number.isInteger(Number(port))) caller.destroy()
    else answer(from, Number(port), heard.subarray(end + 1))
  }
  caller.on('data', listen)
}
