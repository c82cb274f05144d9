import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadBase, readSafetensors } from '@comigs/model'
import { exportModel, type ExportKind, importMixture } from '../../packages/node/src/take-away.ts'
import { peerArguments, PeerProcess, runCli } from '../support/peer-process.ts'
import { TINY, writeTinyBase } from '../support/tiny-base.ts'

/** Peers with unequal experts train together; then one takes its model away, and brings it back. */

let folder: string
let base: string
const started: PeerProcess[] = []
const at = (name: string) => join(folder, name)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comigs-take-away-'))
  base = await writeTinyBase(at('base'))
})
afterAll(async () => {
  await Promise.all(started.map((peer) => peer.kill('SIGKILL')))
  await rm(folder, { recursive: true, force: true })
})

it('peers with one expert and with four share a generalist', async () => {
  const start = (language: string, state: string, extra: readonly string[]) => {
    const peer = new PeerProcess(peerArguments(language, base, at(state), extra))
    started.push(peer)
    return peer
  }
  const few = start('fr', 'few', ['--experts', '1'])
  const { addresses } = await few.waitFor('listening')
  const many = start('de', 'many', ['--experts', '4', '--bootstrap', addresses[0]!])
  for (const peer of [few, many]) {
    const { round, generalistShare } = await peer.waitFor('round', ({ mixedWith }) => mixedWith === 1)
    expect(generalistShare).toHaveLength(peer === few ? 0 : TINY.layers)
    const later = await peer.waitFor('round', (event) => event.round >= round + 5)
    expect(later.validLoss).toBeLessThan(peer.all('round')[0]!.validLoss!)
  }
  for (const peer of [few, many]) expect(await peer.kill('SIGTERM')).toBe(0)
})

describe('the model of the one with four', () => {
  const run = (...args: string[]) => runCli([...args, '--base', base, '--json'])
  const exported = (as: ExportKind, out: string, state = at('many')) =>
    exportModel({ as, state, out, expert: 3, base, hubName: null })

  it('leaves as adapters', async () => {
    const { code, stdout } = await run('export', '--state', at('many'), '--out', at('peft'))
    expect(code).toBe(0)
    const { parts, experts, round } = JSON.parse(stdout) as {
      parts: string[]
      experts: number
      round: number
    }
    expect(experts).toBe(4)
    expect(round).toBeGreaterThanOrEqual(6)
    expect(parts).toHaveLength(9)
    expect(readdirSync(at('peft')).sort()).toEqual([...parts].sort())
    for (const part of parts) {
      const file = join(at('peft'), part, 'adapter_model.safetensors')
      expect(readSafetensors(readFileSync(file), file).names.length).toBeGreaterThan(0)
    }
  })

  it('leaves as a model that is a base again', async () => {
    await exported('merged', at('merged'))
    const [before, after] = [await loadBase(base), await loadBase(at('merged'))]
    expect(after.config).toEqual(before.config)
    expect(after.hashes.tokenizer).toBe(before.hashes.tokenizer)
    expect(after.hashes.weights).not.toBe(before.hashes.weights)
    expect([...after.arrays].map(({ name }) => name)).toEqual([...before.arrays].map(({ name }) => name))
  })

  it('comes back from one file, and is the same', async () => {
    const file = at('mixture.safetensors')
    const out = await run('export', '--as', 'mixture', '--state', at('many'), '--out', file)
    expect(out.code).toBe(0)
    const { round } = JSON.parse(out.stdout) as { round: number }
    const back = await run('import', file, '--state', at('back'))
    expect(JSON.parse(back.stdout)).toMatchObject({ event: 'imported', experts: 4, round })
    await exported('mixture', at('again.safetensors'), at('back'))
    expect(readFileSync(at('again.safetensors')).equals(readFileSync(file))).toBe(true)

    // A peer goes on from it, as somebody else.
    const peer = new PeerProcess(peerArguments('de', base, at('back'), ['--experts', '4']))
    expect((await peer.waitFor('start')).round).toBe(round)
    expect((await peer.waitFor('round')).round).toBe(round + 1)
    await peer.kill('SIGTERM')
  })

  it('is not written over anything', async () => {
    await writeFile(at('taken'), 'mine')
    const { code, stderr } = await run('export', '--state', at('many'), '--out', at('taken'))
    expect(code).toBe(2)
    expect(stderr).toContain('exists already')
    expect(readFileSync(at('taken'), 'utf8')).toBe('mine')
    const over = importMixture({ file: at('mixture.safetensors'), state: at('few'), base })
    await expect(over).rejects.toMatchObject({ detail: { code: 'STATE_UNUSABLE', path: at('few') } })
  })
})
