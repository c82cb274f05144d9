import { encodeCheckpoint } from '@comigs/model'
import { encodeManifest, manifestHash } from '@comigs/protocol'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { DEFAULT_BASE } from '../src/base-folder.ts'
import { newManifest, undescribed } from '../src/new-manifest.ts'
import { type Setting, settledElsewhere, type Told } from '../src/settled.ts'
import { openStateDirectory } from '../src/state/state-directory.ts'

const ASKED = {
  baseDtype: 'auto',
  experts: 2,
  batch: 2,
  context: 16,
  engine: 'cpu',
  threads: 1,
  publishPerplexity: false,
} as const

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comigs-settled-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** What is settled by key, and why it went no further. */
async function settled(told: Partial<Told>) {
  const settings: Record<string, Setting> = {}
  let code: string | undefined
  try {
    for await (const setting of settledElsewhere({ state: join(folder, 'none'), ...ASKED, ...told }))
      settings[setting.key] = setting
  } catch (error) {
    code = (error as { detail: { code: string } }).detail.code
  }
  return { settings, code }
}

/** One unlike a new one: its manifest as a file, and the state folder of a peer that has three experts. */
async function federation(name: string) {
  const made = { ...(await newManifest(DEFAULT_BASE, { ...undescribed(), name })), localSteps: 6 }
  const file = join(folder, `${name}.json`)
  await writeFile(file, encodeManifest(made))
  const state = await openStateDirectory(join(folder, name))
  await state.saveManifest(made)
  const counters = { expertSteps: 6, routerSteps: 0, plateau: { best: 3, bad: 0, factor: 1 } }
  await state.saveCheckpoint(encodeCheckpoint({ counters, arrays: [] }, { experts: '3', round: '1' }))
  await state.release()
  return { file, state: state.folder, hash: manifestHash(made) }
}

it('a new federation is the paper’s, on the shipped base', async () => {
  const { settings, code } = await settled({})
  expect(code).toBeUndefined()
  expect(settings['base']).toMatchObject({ value: DEFAULT_BASE, source: 'default' })
  expect(settings['base-dtype']).toMatchObject({ value: 'float32', source: 'machine' })
  expect(settings['local-steps']).toMatchObject({ value: 10, source: 'default' })
  expect(settings['manifest.codec']).toMatchObject({ value: { values: 'int8' }, source: 'default' })
  expect(settings['manifest.seed']).toMatchObject({ value: null })
  expect(settings['memory']!.value).toBeGreaterThan(220e6)
  expect(settings).not.toHaveProperty('engine')
})

it('the manifest of the state folder, or one that was given, decides', async () => {
  const { file, state, hash } = await federation('friends')
  const stored = await settled({ state, experts: 3 })
  const from = join(state, 'manifest.json')
  expect(stored.code).toBeUndefined()
  expect(stored.settings['federation']).toMatchObject({ value: hash.slice(0, 16), source: 'manifest', from })
  expect(stored.settings['local-steps']).toMatchObject({ value: 6, from })
  expect(stored.settings['manifest.name']).toMatchObject({ value: 'friends', from })
  expect(stored.settings['base']).toMatchObject({ value: DEFAULT_BASE, from })
  const given = await settled({ manifest: file, localSteps: 3 })
  expect(given.settings['manifest.name']).toMatchObject({ value: 'friends', from: file })
  expect(given.settings).not.toHaveProperty('local-steps') // a flag's stays the flag's
})

it('of a federation that is yet to be joined, nothing is known', async () => {
  const { settings, code } = await settled({ bootstrap: ['/ip4/192.0.2.7/tcp/4001'] })
  expect(code).toBeUndefined()
  for (const key of ['federation', 'base', 'local-steps'])
    expect(settings[key]).toMatchObject({ value: null, from: 'the federation, once joined' })
  expect(settings).not.toHaveProperty('manifest.codec')
})

it('what would keep a peer from training is thrown, after what is settled', async () => {
  const { file, state } = await federation('ours')
  const { file: other } = await federation('others')
  const experts = await settled({ state })
  expect(experts.code).toBe('OPTION_INVALID')
  expect(experts.settings['manifest.name']).toMatchObject({ value: 'ours' })
  expect(await settled({ state, manifest: other })).toMatchObject({ code: 'MANIFEST_MISMATCH' })
  expect(await settled({ manifest: file, federation: 'abcd' })).toMatchObject({
    code: 'FEDERATION_UNEXPECTED',
  })
  const secret = join(folder, 'secret.json')
  const privacy = { clip: 1, noise: 1 }
  await writeFile(secret, encodeManifest({ ...(await newManifest(DEFAULT_BASE, undescribed())), privacy }))
  expect(await settled({ manifest: secret, publishPerplexity: true })).toMatchObject({
    code: 'OPTION_INVALID',
  })
  expect(await settled({ base: join(folder, 'nowhere') })).toMatchObject({ code: 'BASE_UNREADABLE' })
})
