import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { MAIN, peerArguments } from '../support/peer-process.ts'
import { writeTinyBase } from '../support/tiny-base.ts'

const LISTEN = '/ip4/127.0.0.1/tcp/0'

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
  const args = peerArguments('fr', base, join(folder, 'fr'), ['--engine', 'onnx', '--rounds', '2', '--json'])
  // Nothing else of the environment: the library holds its tongue where a variable of a CI system is set.
  const env = { HOME: home, PATH: process.env['PATH'] }
  const { stdout } = await promisify(execFile)(process.execPath, [MAIN, ...args, '--listen', LISTEN], { env })
  expect(stdout).toContain('"engine":"onnx"')
  expect(stdout).toContain('"event":"result"')
  expect(await readdir(home, { recursive: true })).toEqual([])
})

it('a thread that was started before it was forbidden loads no such library, whatever it forbids itself', async () => {
  const code = `
    const { parentPort } = require('node:worker_threads')
    process.env.ORT_DISABLE_TELEMETRY = '1'
    import('@comigs/model').then(({ selectEngine }) => selectEngine({ engine: 'onnx' })).then(
      () => parentPort.postMessage('loaded'),
      (error) => parentPort.postMessage(error.message),
    )`
  const worker = new Worker(code, { eval: true, execArgv: [] })
  const said = await new Promise((resolve) => worker.once('message', resolve))
  await worker.terminate()
  expect(said).toContain('it would report to its maker')
})
