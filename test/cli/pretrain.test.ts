import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { DEFAULT_BASE } from '../../packages/node/src/base-folder.ts'
import { MAIN } from '../support/peer-process.ts'

let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comigs-pretrain-'))
  await mkdir(join(folder, 'data'))
  for (const split of ['train', 'valid'])
    await writeFile(join(folder, `data/a.${split}.txt`), 'Once upon a time there was a king. '.repeat(20))
})
afterAll(() => rm(folder, { recursive: true }))

/** A model of next to nothing, which has more steps before it than anyone waits for. */
function pretrain(): ChildProcessWithoutNullStreams {
  const shape = ['--width', '8', '--layers', '1', '--heads', '2', '--context', '8', '--steps', '10000000']
  const paths = ['--data', join(folder, 'data'), '--tokenizer', DEFAULT_BASE, '--out', join(folder, 'out')]
  return spawn(process.execPath, [MAIN, 'pretrain', ...shape, ...paths])
}

/** Stops it when it has printed its first steps. */
async function stoppedAfterFirstSteps() {
  const child = pretrain()
  const said = { out: '', err: '' }
  child.stderr.on('data', (data) => (said.err += String(data)))
  child.stdout.on('data', (data) => {
    const had = said.out
    said.out += String(data)
    if (!had.includes('\nstep ') && said.out.includes('\nstep ')) child.kill('SIGINT')
  })
  const code = await new Promise((resolve) => child.on('close', resolve))
  return { code, ...said }
}

it('pretraining that is stopped says so, keeps every step, and goes on from there', async () => {
  const first = await stoppedAfterFirstSteps()
  expect(first.out).toMatch(/\nsteps {7}from 0 to 10000000\nstep {6}5 {2}loss /)
  expect(first.err).toMatch(/^stopping: .*\nstopped at step \d+; /)
  expect(first.code).toBe(0)
  const log = (await readFile(join(folder, 'out/log.jsonl'), 'utf8')).trimEnd().split('\n')
  const { step } = JSON.parse(log.at(-1)!) as { step: number }
  expect(first.err).toContain(`stopped at step ${step};`)
  expect((await stoppedAfterFirstSteps()).out).toContain(`\nsteps       from ${step} to `)
})
