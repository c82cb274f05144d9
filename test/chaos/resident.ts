import { fileURLToPath } from 'node:url'
import type { PeerEvent, RoundEvent } from '../../packages/node/src/events.ts'
import { PeerProcess } from '../support/peer-process.ts'

/** A peer over all its lives, and what was seen of it. */
export interface Resident {
  readonly name: string
  /** Known once it has listened. */
  readonly id: string
  readonly address: string
  readonly rounds: readonly RoundEvent[]
  readonly lives: number
  readonly pauses: number
  /** The longest that it ran, neither stopped nor starting, without finishing a round. */
  longestGapSeconds(): number
  /** What must not have happened, in words. */
  complaints(): readonly string[]
  /** Warnings in its logs, by message. */
  warnings(): Readonly<Record<string, number>>
  /** Metrics by name and labels; undefined while it does not answer. */
  metrics(): Promise<Readonly<Record<string, number>> | undefined>
  /** Resolves when it listens, or was killed before that. */
  start(): Promise<void>
  kill(): Promise<void>
  pause(): void
  resume(): void
  stop(): Promise<void>
}

const DETOUR = fileURLToPath(new URL('detour.mjs', import.meta.url))
const SCRAPE_TIMEOUT_MS = 2000
/** pino's number for errors. */
const ERROR_LEVEL = 50
/** Warnings that no honest peer may ever cause. */
const SERIOUS = ['too many offences: cut off', 'peer refused', 'checkpoint not usable']

export function createResident(init: {
  readonly name: string
  readonly networkPort: number
  /** Arguments of its next life. */
  args(): readonly string[]
  onListening(name: string, port: number): void
}): Resident {
  const { name } = init
  const env = {
    NODE_OPTIONS: `--import=${DETOUR}`,
    CHAOS_NAME: name,
    CHAOS_PORT: String(init.networkPort),
  }
  const rounds: RoundEvent[] = []
  const complaints: string[] = []
  const logs: string[] = []
  let life: PeerProcess | undefined
  let lives = 0
  let pauses = 0
  let id = ''
  let address = ''
  let http = ''
  /** Since when it should be making a round; undefined while it starts, stands still or is dead. */
  let waitingSince: number | undefined
  let longestGap = 0
  const endGap = () => {
    if (waitingSince !== undefined) longestGap = Math.max(longestGap, Date.now() - waitingSince)
    waitingSince = undefined
  }

  const onEvent = (event: PeerEvent) => {
    const last = rounds.at(-1)?.round ?? 0
    if (event.event === 'start' && (event.round < last || event.round > last + 1))
      complaints.push(`was in round ${last} when it was killed, and came back in round ${event.round}`)
    if (event.event === 'joined' && lives > 1 && last > 0) complaints.push('came back as a newcomer')
    if (event.event === 'refused') complaints.push(`refused a peer: ${event.message}`)
    if (event.event === 'round') {
      if (event.round <= last) complaints.push(`made round ${event.round} after round ${last}`)
      endGap()
      waitingSince = Date.now()
      rounds.push(event)
    }
  }

  const end = async (signal: 'SIGKILL' | 'SIGTERM') => {
    if (life?.exitCode !== undefined || life === undefined) return
    const ending = life
    life = undefined
    endGap()
    if (ending.exitCode !== undefined) complaints.push(`ended by itself with ${ending.exitCode}`)
    else if ((await ending.kill(signal)) !== 0 && signal === 'SIGTERM')
      complaints.push(`did not stop in an orderly way: ${ending.exitCode}`)
    logs.push(...ending.stderr.split('\n').filter((line) => line !== ''))
  }

  return {
    name,
    get id() {
      return id
    },
    get address() {
      return address
    },
    rounds,
    get lives() {
      return lives
    },
    get pauses() {
      return pauses
    },
    longestGapSeconds: () =>
      Math.max(longestGap, waitingSince === undefined ? 0 : Date.now() - waitingSince) / 1000,
    complaints: () => [...complaints, ...logs.filter(isSerious).map((line) => `log: ${line.slice(0, 300)}`)],
    warnings() {
      const counts: Record<string, number> = {}
      for (const line of logs) {
        const { msg } = parsed(line) ?? { msg: line }
        counts[msg] = (counts[msg] ?? 0) + 1
      }
      return counts
    },
    async metrics() {
      if (life === undefined || http === '') return undefined
      try {
        const signal = AbortSignal.timeout(SCRAPE_TIMEOUT_MS)
        return parseMetrics(await (await fetch(`${http}/metrics`, { signal })).text())
      } catch {
        return undefined
      }
    },
    async start() {
      // A peer comes back where it was; so do its others find it.
      const listen = address === '' ? undefined : address.replace(/\/p2p\/.*/, '')
      lives++
      const starting = new PeerProcess(init.args(), {
        env,
        onEvent,
        ...(listen === undefined ? {} : { listen }),
      })
      life = starting
      let event
      try {
        event = await starting.waitFor('listening')
      } catch (error) {
        // Killed again before it was up: whoever did that starts it again.
        if (life !== starting) return
        throw error
      }
      id = event.peerId
      address = event.addresses[0]!
      http = event.http
      init.onListening(name, Number(/\/tcp\/(\d+)/.exec(address)![1]))
    },
    kill: () => end('SIGKILL'),
    pause() {
      if (life?.exitCode !== undefined || life === undefined) return
      pauses++
      endGap()
      process.kill(life.pid, 'SIGSTOP')
    },
    resume() {
      if (life?.exitCode !== undefined || life === undefined) return
      process.kill(life.pid, 'SIGCONT')
      waitingSince = Date.now()
    },
    stop: () => end('SIGTERM'),
  }
}

/** Whatever is no log line was printed by Node on the way down. */
function isSerious(line: string): boolean {
  const entry = parsed(line)
  return entry === undefined || entry.level >= ERROR_LEVEL || SERIOUS.includes(entry.msg)
}

function parsed(line: string): { readonly level: number; readonly msg: string } | undefined {
  try {
    return JSON.parse(line) as { level: number; msg: string }
  } catch {
    return undefined
  }
}

function parseMetrics(text: string): Record<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(
    lines.map((line) => {
      const end = line.lastIndexOf(' ')
      return [line.slice(0, end), Number(line.slice(end + 1))]
    }),
  )
}
