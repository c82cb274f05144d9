import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { peerArguments, PeerProcess } from '../support/peer-process.ts'
import { writeTinyBase } from '../support/tiny-base.ts'

describe('two peers that nobody can dial', () => {
  let folder: string
  let base: string
  const started: PeerProcess[] = []
  const start = (language: string, listen: string, extra: readonly string[]) => {
    const peer = new PeerProcess(peerArguments(language, base, join(folder, language), extra), { listen })
    started.push(peer)
    return peer
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'comigs-relay-'))
    base = await writeTinyBase(join(folder, 'base'))
  })
  afterAll(async () => {
    await Promise.all(started.map((peer) => peer.kill('SIGKILL')))
    await rm(folder, { recursive: true, force: true })
  })

  it('meet through a third that relays, and again when it comes back', async () => {
    const relay = start('fr', '/ip4/127.0.0.1/tcp/0', ['--relay'])
    const { addresses } = await relay.waitFor('listening')
    const hidden = ['de', 'it'].map((language) =>
      start(language, '/p2p-circuit', ['--bootstrap', addresses[0]!]),
    )
    for (const peer of hidden) await connected(peer, 2)
    const ids = await Promise.all(hidden.map(async (peer) => (await peer.waitFor('listening')).peerId))
    await hidden[0]!.waitFor('round', ({ neighbours }) => neighbours.some(({ peer }) => peer === ids[1]))

    await relay.kill('SIGKILL')
    for (const peer of hidden) await connected(peer, 0)
    start('fr', addresses[0]!.replace(/\/p2p\/.*/, ''), ['--relay'])
    for (const peer of hidden) await connected(peer, 2)
    expect(hidden.map(({ exitCode }) => exitCode)).toEqual([undefined, undefined])
  })
})

/** Looks after every round how many others a peer is connected to. */
async function connected(peer: PeerProcess, count: number): Promise<void> {
  const { http } = await peer.waitFor('listening')
  for (;;) {
    const { round } = peer.all('round').at(-1) ?? { round: 0 }
    await peer.waitFor('round', (event) => event.round > round)
    const metrics = await (await fetch(`${http}/metrics`)).text()
    if (metrics.includes(`\ncomigs_connected_peers ${count}\n`)) return
  }
}
