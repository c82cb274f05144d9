import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/**
 * Real peers over TCP on this machine, each a process with its own language: `comigs-peer swarm`.
 * @param flags - of the command, by name
 * @param onEvent - gets each peer's events in order, and is waited for
 * @param env - more of it for all of their processes
 * @returns its result
 */
export async function runSwarm(flags, onEvent, env = {}) {
  const state = mkdtempSync(join(tmpdir(), 'comigs-bench-'))
  const all = { '--data-set': join(ROOT, 'data/multilingual-cc0'), '--state': state, ...flags }
  const child = spawn(
    process.execPath,
    [
      join(ROOT, 'packages/node/dist/cli/main.js'),
      'swarm',
      '--json',
      ...Object.entries(all).flatMap(([flag, value]) => (value === true ? [flag] : [flag, String(value)])),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...env } },
  )
  const ended = new Promise((resolve) => child.on('close', resolve))
  let result
  for await (const line of createInterface({ input: child.stdout })) {
    const { peer, ...event } = JSON.parse(line)
    if (peer !== undefined) await onEvent(peer, event)
    else if (event.event === 'result') result = event
  }
  const code = await ended
  rmSync(state, { recursive: true })
  if (code !== 0) throw new Error(`a swarm with ${Object.entries(flags).flat().join(' ')} ended with ${code}`)
  return result
}
