import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hasMulticast } from '../../packages/node/test/support/multicast.ts'
import { peerArguments, PeerProcess, runCli } from '../support/peer-process.ts'
import { writeTinyBase } from '../support/tiny-base.ts'

describe('two peers in processes of their own, over TCP', () => {
  let folder: string
  let base: string
  const started: PeerProcess[] = []
  const start = (language: string, extra: readonly string[] = [], state = language) => {
    const peer = new PeerProcess(peerArguments(language, base, join(folder, state), extra))
    started.push(peer)
    return peer
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'comigs-e2e-'))
    base = await writeTinyBase(join(folder, 'base'))
  })
  afterAll(async () => {
    await Promise.all(started.map((peer) => peer.kill('SIGKILL')))
    await rm(folder, { recursive: true, force: true })
  })

  it('start a federation, join it, mix, survive kill -9, and go on where they were', async () => {
    const seed = start('fr')
    const { addresses, peerId: seedId } = await seed.waitFor('listening')
    expect((await seed.waitFor('federation')).isNew).toBe(true)
    await seed.waitFor('round', ({ round }) => round >= 3)

    const joiner = start('de', ['--bootstrap', addresses[0]!, '--publish-perplexity'])
    expect((await joiner.waitFor('joined')).copies).toBe(1)
    const joinerId = (await joiner.waitFor('listening')).peerId
    expect((await joiner.waitFor('federation')).federation).toBe(
      (await seed.waitFor('federation')).federation,
    )

    // Both mix with each other, and the joiner learns.
    await joiner.waitFor('round', ({ mixedWith }) => mixedWith === 1)
    const mixed = await seed.waitFor('round', ({ mixedWith }) => mixedWith === 1)
    expect(mixed.neighbours.map(({ peer }) => peer)).toEqual([joinerId])
    await joiner.waitFor('round', ({ round }) => round >= 10)
    const rounds = joiner.all('round')
    expect(rounds.at(-1)!.validLoss).toBeLessThan(rounds[0]!.validLoss!)

    // The joiner publishes its perplexity, as it looked it up; the seed hears it, and publishes none.
    const { othersPerplexity } = await seed.waitFor('round', (event) => event.othersPerplexity !== undefined)
    expect(othersPerplexity).toMatchObject({ peers: 1, most: othersPerplexity!.least })
    await joiner.waitFor(
      'round',
      ({ validPerplexity }) => Math.fround(validPerplexity!) === othersPerplexity!.median,
    )
    expect(joiner.all('round').filter((event) => event.othersPerplexity !== undefined)).toEqual([])

    // What a live peer exports is what docs/METRICS.md lists.
    const { http } = await seed.waitFor('listening')
    const documented = await documentedMetrics()
    const scraped = await (await fetch(`${http}/metrics`)).text()
    expect(scraped).toMatch(/^comigs_others_perplexity\{quantile="0.5"\} [\d.]+\ncomigs_others_.* [\d.]+$/m)
    expect(scraped).toMatch(/^comigs_others_publishing 1$/m)
    const exported = exportedMetrics(scraped)
    expect([...exported.keys()].sort()).toEqual([...documented.keys()].sort())
    for (const [name, labels] of exported)
      expect(documented.get(name), name).toEqual(expect.arrayContaining([...labels]))

    // Killed without warning, the joiner comes back as who it was, in the round after the last that it finished.
    await joiner.kill('SIGKILL')
    const last = joiner.all('round').at(-1)!.round
    const again = start('de', ['--bootstrap', addresses[0]!])
    const resumed = (await again.waitFor('start')).round
    expect(resumed).toBeGreaterThanOrEqual(last)
    expect(resumed).toBeLessThanOrEqual(last + 1)
    expect((await again.waitFor('listening')).peerId).toBe(joinerId)
    expect((await again.waitFor('round')).round).toBe(resumed + 1)
    await again.waitFor('round', ({ mixedWith }) => mixedWith === 1)
    // ... and the seed hears it again.
    await seed.waitFor('round', ({ neighbours }) =>
      neighbours.some(({ peer, round }) => peer === joinerId && round > last),
    )

    // The same for the seed, which the joiner finds where it was.
    await seed.kill('SIGKILL')
    const seedAgain = start('fr')
    expect(await seedAgain.waitFor('listening')).toMatchObject({ peerId: seedId, addresses })
    await seedAgain.waitFor('round', ({ mixedWith }) => mixedWith === 1)
    const seedRound = seedAgain.all('round')[0]!.round
    await again.waitFor('round', ({ neighbours }) =>
      neighbours.some(({ peer, round }) => peer === seedId && round >= seedRound),
    )

    // Asked to stop, a peer stops in an orderly way.
    expect(await again.kill('SIGTERM')).toBe(0)
    expect(await seedAgain.kill('SIGTERM')).toBe(0)
  })

  it('find each other in the local network, and by what a peer remembers when its bootstrap peer is gone', async ({
    skip,
  }) => {
    skip(!(await hasMulticast()), 'no multicast on this machine')
    const first = start('fr', ['--mdns'], 'first')
    const { federation } = await first.waitFor('federation')
    await first.waitFor('round')
    const second = start('de', ['--mdns', '--federation', federation.slice(0, 16)], 'second')
    await second.waitFor('joined')
    await second.waitFor('round', ({ mixedWith }) => mixedWith === 1)

    const { addresses } = await first.waitFor('listening')
    const third = start('it', ['--bootstrap', addresses[0]!], 'third')
    await third.waitFor('round', ({ mixedWith }) => mixedWith === 2)
    const { round } = third.all('round').at(-1)!
    await third.waitFor('round', (event) => event.round > round)
    await Promise.all([third.kill('SIGKILL'), first.kill('SIGKILL')])
    const secondId = (await second.waitFor('listening')).peerId
    const again = start('it', [], 'third')
    const mixed = await again.waitFor('round', ({ mixedWith }) => mixedWith === 1)
    expect(mixed.neighbours.find(({ weight }) => weight !== undefined)!.peer).toBe(secondId)
  })

  it('ends at once when it is asked to for the second time, while it computes', async () => {
    const peer = start('nl', ['--local-steps', '5000'])
    await peer.waitFor('listening')
    await sleep(500)
    void peer.kill('SIGTERM')
    await sleep(1500)
    expect(await peer.kill('SIGTERM')).toBeNull()
    expect(peer.stderr).not.toContain('terminate called')
  })

  it('says so when there is nobody of the federation', async () => {
    const args = peerArguments('fr', base, join(folder, 'nobody'), ['--federation', 'ab'.repeat(32)])
    const nowhere = await runCli(args)
    expect([nowhere.code, nowhere.stderr]).toEqual([2, expect.stringContaining('--bootstrap')])
  })
})

/** Names and labels in the table of docs/METRICS.md. */
async function documentedMetrics(): Promise<Map<string, string[]>> {
  const page = await readFile(new URL('../../docs/METRICS.md', import.meta.url), 'utf8')
  const rows = page.matchAll(/^\| `(comigs_\w+)` +\| ([^|]*)\|/gm)
  return new Map(
    [...rows].map(([, name, labels]) => [name!, labels!.split(',').map((label) => label.trim())]),
  )
}

/** Names, and the labels that have been used, of Prometheus' text format. */
function exportedMetrics(text: string): Map<string, Set<string>> {
  const names = [...text.matchAll(/^# TYPE (comigs_\w+) /gm)].map(([, name]) => name!)
  return new Map(
    names.map((name) => {
      const samples = text.matchAll(new RegExp(`^${name}(?:_bucket|_sum|_count)?\\{(.*)\\} `, 'gm'))
      const labels = [...samples].flatMap(([, inner]) =>
        [...inner!.matchAll(/(\w+)="/g)].map(([, label]) => label!),
      )
      // A histogram's own.
      return [name, new Set(labels.filter((label) => label !== 'le'))]
    }),
  )
}
