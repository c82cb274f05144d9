import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readSafetensors } from '@comigs/model'
import { distance, mean } from '@comigs/protocol'
import type { PeerResult } from '../../packages/node/src/swarm/swarm.ts'
import { runCli } from '../support/peer-process.ts'
import { LANGUAGES, writeTinyBase } from '../support/tiny-base.ts'

interface Run {
  readonly peers: readonly PeerResult[]
  readonly lines: readonly Record<string, unknown>[]
}

describe('comigs-peer swarm: four processes with four languages', () => {
  let folder: string
  let base: string
  const runs: Partial<Record<'comigs' | 'local', Run>> = {}

  const swarm = async (strategy: 'comigs' | 'local'): Promise<Run> => {
    const { code, stdout, stderr } = await runCli(
      [
        ...['swarm', '--json', '--data-set', LANGUAGES, '--target', 'mixture', '--strategy', strategy],
        ...[
          '--base',
          base,
          '--rounds',
          '12',
          // Rounds long against the second by which peers start apart: who is seven rounds ahead is stale to the others.
          '--batch',
          '8',
          '--context',
          '64',
          '--state',
          join(folder, strategy),
        ],
      ],
      // No option of a swarm, and no peer could listen there: what is meant for one peer is not for all of these.
      { timeoutMs: 200_000, env: { COMIGS_PEER_LISTEN: 'nowhere' } },
    )
    expect(stderr).toBe('')
    expect(code).toBe(0)
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    return { lines, peers: (lines.at(-1) as { peers: PeerResult[] }).peers }
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'comigs-swarm-'))
    base = await writeTinyBase(join(folder, 'base'))
    runs.comigs = await swarm('comigs')
    runs.local = await swarm('local')
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it('ends with one result line that has every promised field', () => {
    const result = runs.comigs!.lines.at(-1)!
    expect(result['event']).toBe('result')
    expect(result['seconds']).toBeGreaterThan(0)
    for (const peer of runs.comigs!.peers) {
      expect(Object.keys(peer)).toEqual(
        expect.arrayContaining(
          'name peerId pid basePerplexity perplexity ownPerplexity rounds mixedWith bytesSent consensusDistance'.split(
            ' ',
          ),
        ),
      )
      expect(peer.rounds).toBe(12)
      expect(peer.mixedWith).toBe(3)
      expect(peer.bytesSent).toBeGreaterThan(10_000)
      expect(peer.perplexity).toBeLessThan(peer.basePerplexity)
    }
  })

  it('tells how far the test of each peer is', () => {
    const tests = runs.comigs!.lines.filter(({ event }) => event === 'testing')
    for (const { name } of runs.comigs!.peers) {
      const shares = tests.filter(({ peer }) => peer === name).map(({ share }) => share)
      expect(shares).toEqual([0, 0.2, 0.4, 0.6, 0.8])
    }
  })

  it('runs four processes with four identities', () => {
    const { peers } = runs.comigs!
    expect(peers.map(({ name }) => name)).toEqual(['de', 'fr', 'it', 'nl'])
    expect(new Set(peers.map(({ pid }) => pid)).size).toBe(4)
    expect(new Set(peers.map(({ peerId }) => peerId)).size).toBe(4)
  })

  it('sends nothing but one last copy when the exchange is off', () => {
    for (const peer of runs.local!.peers) {
      expect(peer.mixedWith).toBe(0)
      expect(peer.bytesSent).toBeLessThan(runs.comigs!.peers[0]!.bytesSent / 2)
    }
  })

  it('brings the generalists at least five times closer than training alone', async () => {
    const reported = (run: Run) => Math.max(...run.peers.map((peer) => peer.consensusDistance!))
    expect(reported(runs.comigs!) * 5).toBeLessThan(reported(runs.local!))

    // The same from the checkpoints, whatever the peers say of themselves.
    const [together, apart] = await Promise.all([spread(runs.comigs!), spread(runs.local!)])
    expect(together * 5).toBeLessThan(apart)
  })

  it('shows the result again when nothing is left to do', async () => {
    const again = await swarm('comigs')
    expect(again.lines.filter(({ event }) => event === 'round')).toEqual([])
    const told = ({ peers }: Run) =>
      peers.map(({ name, peerId, rounds, perplexity }) => [name, peerId, rounds, perplexity])
    expect(told(again)).toEqual(told(runs.comigs!))
  })

  it('keeps the specialists apart', async () => {
    const [first, second] = await Promise.all(
      runs
        .comigs!.peers.slice(0, 2)
        .map((peer) => checkpointArrays(peer, /^experts\/.*experts\.1\..*lora_B$/)),
    )
    expect(distance(first!, second!)).toBeGreaterThan(0.01)
  })
})

/** Mean distance of the generalists from their mean. */
async function spread({ peers }: Run): Promise<number> {
  const vectors = await Promise.all(
    peers.map((peer) => checkpointArrays(peer, /^experts\/h\.\d+\.(attn|mlp\.experts\.0)\./)),
  )
  const centre = mean(vectors)
  return vectors.reduce((sum, vector) => sum + distance(vector, centre), 0) / vectors.length
}

async function checkpointArrays(peer: PeerResult, names: RegExp): Promise<Float32Array> {
  const path = join(peer.state, 'checkpoint.safetensors')
  const file = readSafetensors(await readFile(path), path)
  const wanted = file.names.filter((name) => names.test(name))
  expect(wanted.length).toBeGreaterThan(0)
  return Float32Array.from(wanted.flatMap((name) => [...file.array(name).values]))
}
