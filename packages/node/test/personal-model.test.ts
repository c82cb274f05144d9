import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { readStateDirectory } from '../src/state/state-directory.ts'
import { readTrained } from '../src/text/personal-model.ts'

it('names the peers in a folder in which none has trained itself: a swarm, or the newest of several', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'comigs-personal-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const refusal = (at: string) => readTrained(readStateDirectory(at), at).catch(String)
  expect(await refusal(folder)).toContain(`npx comigs-peer --data <your text> --state ${folder}`)
  for (const swarm of ['swarm-1', 'swarm-2']) {
    for (const peer of ['de', 'fr', 'it', 'nl']) {
      await mkdir(join(folder, swarm, peer), { recursive: true })
      await writeFile(join(folder, swarm, peer, 'checkpoint.safetensors'), '')
    }
  }
  const named = (swarm: string) =>
    ['de', 'fr', 'it', 'nl'].map((peer) => join(folder, swarm, peer)).join(', ')
  expect(await refusal(folder)).toContain(`in ${named('swarm-2')}: give one of these with --state`)
  expect(await refusal(join(folder, 'swarm-1'))).toContain(`in ${named('swarm-1')}: give`)
})
