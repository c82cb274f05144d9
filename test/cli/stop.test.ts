import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import '../../packages/node/src/polyfill.ts'
import type { Activity } from '../../packages/node/src/events.ts'
import { runPeer } from '../../packages/node/src/peer.ts'
import { peerConfig } from '../support/peer-config.ts'
import { peerArguments, PeerProcess } from '../support/peer-process.ts'
import { LANGUAGES, writeTinyBase } from '../support/tiny-base.ts'

let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comigs-stop-'))
})
afterAll(() => rm(folder, { recursive: true }))

it('a peer that is stopped while it is tested ends in order, without a result', async () => {
  const base = await writeTinyBase(join(folder, 'base'))
  // Batches so small that the test takes a while.
  const slow = ['--rounds', '1', '--batch', '1', '--context', '8']
  const peer = new PeerProcess(peerArguments('de', base, join(folder, 'de'), slow))
  const { http } = await peer.waitFor('listening')
  await peer.waitFor('testing')
  const status = (await (await fetch(`${http}/api/status`)).json()) as { phase: string }
  expect(await peer.kill('SIGTERM')).toBe(0)
  expect(peer.stderr).toBe('')
  expect(peer.all('result')).toEqual([])
  expect(status.phase).toBe('testing')
})

it('a peer that is stopped while it waits for others ends at once, and speaks of no round', async () => {
  const base = await writeTinyBase(join(folder, 'base'))
  const data = { data: [join(LANGUAGES, 'fr.valid.txt')] }
  const stop = new AbortController()
  const doing: Activity['doing'][] = []
  await runPeer(peerConfig({ state: join(folder, 'fr'), base, data, waitForPeers: 1 }), {
    log: pino({ level: 'silent' }),
    signal: stop.signal,
    onEvent: () => undefined,
    onActivity: (activity) => {
      if (activity !== undefined) doing.push(activity.doing)
      if (activity?.doing === 'waiting') setImmediate(() => stop.abort())
    },
  })
  expect(doing).toContain('waiting')
  expect(doing).not.toContain('stopping')
  expect(doing).not.toContain('training')
})
