import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { PeerEvent } from '../../packages/node/src/events.ts'
import { LANGUAGES, REPOSITORY } from './tiny-base.ts'

export const MAIN = join(REPOSITORY, 'packages/node/dist/cli/main.js')

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the command line to its end. */
export function runCli(
  args: readonly string[],
  options: { timeoutMs?: number; env?: Record<string, string> } = {},
) {
  return new Promise<Finished>((resolve) => {
    const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, ...options.env } })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (data: Buffer) => (stdout += data.toString()))
    child.stderr.on('data', (data: Buffer) => (stderr += data.toString()))
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 60_000)
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ code, stdout, stderr })
    })
  })
}

/** Longer than anything takes on a busy machine; a hang is told with what was seen instead. */
const PATIENCE_MS = 60_000

/** A peer in a process of its own; what it says is all we know. */
export class PeerProcess {
  readonly events: PeerEvent[] = []
  readonly #child: ChildProcess
  readonly #waiting = new Set<() => void>()
  #stderr = ''
  exitCode: number | null | undefined

  constructor(
    args: readonly string[],
    options: {
      listen?: string
      env?: Record<string, string>
      /** A program to run it with, and its arguments. */
      within?: readonly string[]
      onEvent?(event: PeerEvent): void
    } = {},
  ) {
    const { listen = '/ip4/127.0.0.1/tcp/0', env, within = [], onEvent } = options
    const [program, ...before] = [...within, process.execPath]
    this.#child = spawn(program, [...before, MAIN, '--json', '--listen', listen, '--crowded', ...args], {
      env: { ...process.env, ...env },
    })
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const event = JSON.parse(line) as PeerEvent
      this.events.push(event)
      onEvent?.(event)
      this.#notify()
    })
    this.#child.stderr!.on('data', (data: Buffer) => (this.#stderr += data.toString()))
    this.#child.on('exit', (code) => {
      this.exitCode = code
      this.#notify()
    })
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** What it logged. */
  get stderr(): string {
    return this.#stderr
  }

  all<K extends PeerEvent['event']>(kind: K): Extract<PeerEvent, { event: K }>[] {
    return this.events.filter((event) => event.event === kind) as Extract<PeerEvent, { event: K }>[]
  }

  /** Resolves with the first event (past or future) that fits; fails when the process ends without it. */
  async waitFor<K extends PeerEvent['event']>(
    kind: K,
    fits: (event: Extract<PeerEvent, { event: K }>) => boolean = () => true,
  ): Promise<Extract<PeerEvent, { event: K }>> {
    const deadline = Date.now() + PATIENCE_MS
    for (;;) {
      const found = this.all(kind).find(fits)
      if (found !== undefined) return found
      if (this.exitCode !== undefined) throw new Error(`the peer ended (${this.exitCode}): ${this.#stderr}`)
      if (Date.now() > deadline) {
        const said = this.events.slice(-5).map((event) => JSON.stringify(event))
        throw new Error(`no such "${kind}" event; the last were\n${said.join('\n')}\n${this.#stderr}`)
      }
      await new Promise<void>((resolve) => {
        this.#waiting.add(resolve)
        setTimeout(resolve, 1000)
      })
    }
  }

  async kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> {
    this.#child.kill(signal)
    while (this.exitCode === undefined) await new Promise<void>((resolve) => this.#waiting.add(resolve))
    return this.exitCode
  }

  #notify(): void {
    for (const resolve of this.#waiting) resolve()
    this.#waiting.clear()
  }
}

/** One language as a peer's text; a tenth of a second a round on the tiny base. */
export function peerArguments(
  language: string,
  base: string,
  state: string,
  extra: readonly string[] = [],
): string[] {
  const file = (split: string, ending: string) => join(LANGUAGES, `${language}.${split}.txt${ending}`)
  return [
    ...['--train', file('train', '.gz'), '--valid', file('valid', ''), '--test', file('test', '')],
    ...['--base', base, '--state', state, '--name', language, '--context', '32', '--batch', '4', ...extra],
  ]
}
