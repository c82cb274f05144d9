import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { peerArguments, PeerProcess } from '../support/peer-process.ts'
import { writeTinyBase } from '../support/tiny-base.ts'

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
