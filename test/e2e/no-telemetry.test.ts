import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { peerArguments, PeerProcess } from './support/peer-process.ts'
import { writeTinyBase } from './support/tiny-base.ts'

let folder: string
let base: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comigs-e2e-'))
  base = await writeTinyBase(join(folder, 'base'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

// ONNX Runtime keeps the id that it reports under, and what it could not yet send, in the user's home.
it('a peer that trains leaves nothing in its home: no library reports to its maker', async () => {
  const home = join(folder, 'home')
  await mkdir(home)
  const env = { HOME: home, XDG_CACHE_HOME: '', XDG_DATA_HOME: '', CI: '', ORT_DISABLE_TELEMETRY: '' }
  const extra = ['--engine', 'onnx', '--rounds', '2']
  const peer = new PeerProcess(peerArguments('fr', base, join(folder, 'fr'), extra), { env })
  await peer.waitFor('round', ({ round }) => round === 2)
  expect(await peer.kill('SIGTERM')).toBe(0)
  expect(await readdir(home, { recursive: true })).toEqual([])
})

it('a thread that was started before it was forbidden loads no such library', async () => {
  const code = `
    import('@comigs/model').then(({ selectEngine }) => selectEngine({ engine: 'onnx' })).then(
      () => require('node:worker_threads').parentPort.postMessage('loaded'),
      (error) => require('node:worker_threads').parentPort.postMessage(error.message),
    )`
  const worker = new Worker(code, { eval: true, execArgv: [], env: {} })
  const said = await new Promise((resolve) => worker.once('message', resolve))
  await worker.terminate()
  expect(said).toContain('it would report to its maker')
})
