import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { PREFIX } from '../cli/environment.ts'
import { NodeError } from '../errors.ts'
import type { PeerEvent } from '../events.ts'

export interface ChildPeer {
  readonly name: string
  readonly pid: number
  /** Resolves with the first event of a kind; rejects when the process ends without it. */
  once<K extends PeerEvent['event']>(kind: K): Promise<Extract<PeerEvent, { event: K }>>
  /** The latest event of a kind so far. */
  last<K extends PeerEvent['event']>(kind: K): Extract<PeerEvent, { event: K }> | undefined
  /** Ends the process in an orderly way; resolves when it is gone. */
  stop(): Promise<void>
}

const MAIN = fileURLToPath(new URL('../cli/main.js', import.meta.url.replace('/src/swarm/', '/dist/swarm/')))
/** After so long a peer that was asked to stop is killed. */
const STOP_TIMEOUT_MS = 10_000

/** glibc gives each thread a heap of its own, and each keeps what it once needed; it reads this when a process starts. */
const ONE_ARENA = { MALLOC_ARENA_MAX: '1' }

/** Starts a peer as a process of its own. All that we ever learn from it is what it prints. */
export function startChildPeer(
  name: string,
  args: readonly string[],
  { onEvent, onLog }: { onEvent(event: PeerEvent): void; onLog(line: string): void },
): ChildPeer {
  const child = spawn(process.execPath, [MAIN, '--json', '--name', name, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...ONE_ARENA, ...withoutOptions(process.env) },
  })
  const seen = new Map<string, PeerEvent>()
  const waiting = new Map<string, { resolve(event: PeerEvent): void; reject(error: Error): void }[]>()
  let ended: Error | undefined
  let lastLine = ''

  createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line) as PeerEvent
    seen.set(event.event, event)
    for (const { resolve } of waiting.get(event.event) ?? []) resolve(event)
    waiting.delete(event.event)
    onEvent(event)
  })
  createInterface({ input: child.stderr }).on('line', (line) => {
    // A line that goes on with the one before, advice or a stack, is indented.
    if (!line.startsWith(' ')) lastLine = line
    onLog(line)
  })
  const gone = onceGone(child).then((exitCode) => {
    ended = new NodeError({ code: 'PEER_DIED', peer: name, exitCode, lastLine })
    for (const { reject } of [...waiting.values()].flat()) reject(ended)
    waiting.clear()
  })

  return {
    name,
    pid: child.pid!,
    once: (kind) =>
      new Promise((resolve, reject) => {
        const already = seen.get(kind)
        if (already !== undefined) resolve(already as never)
        else if (ended !== undefined) reject(ended)
        else waiting.set(kind, [...(waiting.get(kind) ?? []), { resolve: resolve as never, reject }])
      }),
    last: (kind) => seen.get(kind) as never,
    async stop() {
      child.kill('SIGTERM')
      const kill = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
      await gone
      clearTimeout(kill)
    },
  }
}

/** Whoever starts a peer has read its own options, and says what a peer needs to know of them. */
const withoutOptions = (environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith(PREFIX)))

function onceGone(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => {
    child.on('error', () => {
      resolve(null)
    })
    child.on('exit', resolve)
  })
}
