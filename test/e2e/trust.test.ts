import '../../packages/node/src/polyfill.ts'

import { generateKeyPair } from '@libp2p/crypto/keys'
import type { PrivateKey, Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import * as lp from 'it-length-prefixed'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createHost, type Host } from '../../packages/node/src/host/host.ts'
import type { PeerEvent } from '../../packages/node/src/events.ts'
import { forRounds, newManifest } from '../../packages/node/src/new-manifest.ts'
import { readStateDirectory } from '../../packages/node/src/state/state-directory.ts'
import { exportModel, importMixture } from '../../packages/node/src/take-away.ts'
import { Hello } from '../../packages/protocol/src/pb/messages.ts'
import { epsilonSpent } from '../../packages/protocol/src/privacy.ts'
import { PeerProcess, peerArguments, runCli } from '../support/peer-process.ts'
import { writeTinyBase } from '../support/tiny-base.ts'

let folder: string
let base: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comigs-trust-'))
  base = await writeTinyBase(join(folder, 'base'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const running: PeerProcess[] = []
const hosts: Host[] = []
afterEach(async () => {
  await Promise.all(running.splice(0).map((peer) => peer.kill('SIGKILL')))
  await Promise.all(hosts.splice(0).map(async (host) => host.stop()))
})

let states = 0
const freshState = () => join(folder, `state-${++states}`)

/** A peer that trains, with an address to reach it at. */
async function start(language: string, state: string, extra: readonly string[]) {
  const peer = new PeerProcess(peerArguments(language, base, state, extra))
  running.push(peer)
  const { addresses, peerId } = await peer.waitFor('listening')
  return { peer, address: addresses[0]!, peerId }
}

const idOf = async (state: string): Promise<string> => (await runCli(['id', '--state', state])).stdout.trim()

describe('a private federation', () => {
  it('by key: who has it joins, who has not is told only that it is refused', async () => {
    const keyFile = join(folder, 'swarm.key')
    await writeFile(keyFile, (await runCli(['psk'])).stdout)
    const first = await start('fr', freshState(), ['--psk', keyFile])
    const friend = await start('de', freshState(), ['--psk', keyFile, '--bootstrap', first.address])
    await friend.peer.waitFor('round', ({ mixedWith }) => mixedWith === 1)

    const stranger = await runCli([
      ...peerArguments('it', base, freshState(), ['--bootstrap', first.address]),
      ...['--rounds', '1', '--json'],
    ])
    expect(stranger.code).toBe(5)
    expect(stranger.stderr).toContain('BOOTSTRAP_FAILED')
    expect(stranger.stdout).not.toContain('federation')
  })

  it('by list: who stands on it joins, who does not is told only that it is refused', async () => {
    const [friendState, strangerState] = [freshState(), freshState()]
    const list = join(folder, 'friends')
    await writeFile(list, `${await idOf(friendState)} # Ada\n`)
    const first = await start('fr', freshState(), ['--allow', list])
    const friend = await start('de', friendState, ['--bootstrap', first.address])
    await friend.peer.waitFor('round', ({ mixedWith }) => mixedWith === 1)

    const stranger = await runCli([
      ...peerArguments('it', base, strangerState, ['--bootstrap', first.address]),
      ...['--rounds', '1', '--json'],
    ])
    expect(stranger.code).toBe(5)
    expect(stranger.stderr).toContain('BOOTSTRAP_FAILED')
    expect(stranger.stderr).toContain('--allow')
    expect(stranger.stdout).not.toContain('federation')
  })

  it('is not begun with a key file or a list that cannot be read', async () => {
    await mkdir(join(folder, 'nothing'), { recursive: true })
    for (const [option, value] of [
      ['--psk', join(folder, 'nothing')],
      ['--allow', '12D3KooWnobody'],
    ] as const) {
      const { code, stderr } = await runCli(peerArguments('fr', base, freshState(), [option, value]))
      expect(code).toBe(2)
      expect(stderr).toContain(option)
    }
  })
})

describe('a hostile peer over TCP', () => {
  const stranger = async () => {
    const host = await createHost({
      key: (await generateKeyPair('Ed25519')) as unknown as PrivateKey,
      listen: [],
      announce: [],
      federation: 'f'.repeat(64),
      crowded: true,
    })
    hosts.push(host)
    return host
  }
  const open = async (host: Host, address: string, protocol: string): Promise<Stream> => {
    const signal = AbortSignal.timeout(10_000)
    const connection = await host.dial(multiaddr(address), { signal })
    return connection.newStream(protocol, { signal })
  }
  /** Says something and reads what comes back, to the end of the stream. */
  const say = async (
    host: Host,
    address: string,
    protocol: string,
    bytes: Uint8Array,
  ): Promise<Uint8Array> => {
    const stream = await open(host, address, protocol)
    await stream.sink(lp.encode([bytes]))
    for await (const frame of lp.decode(stream.source)) return frame.subarray()
    return new Uint8Array()
  }
  const isRefused = async (host: Host, address: string): Promise<boolean> => {
    try {
      await open(host, address, '/ipfs/ping/1.0.0')
      return false
    } catch {
      return true
    }
  }

  it('that asks what nobody asks is cut off, whoever it is, and nothing else happens', async () => {
    const { peer, address } = await start('fr', freshState(), [])
    const mallory = await stranger()
    for (let i = 0; i < 12; i++) {
      await say(mallory, address, '/comigs/1/payload', Uint8Array.of(0xff)).catch(() => undefined)
    }
    expect(await isRefused(mallory, address)).toBe(true)
    expect(await isRefused(await stranger(), address)).toBe(false)
    const { round } = peer.all('round').at(-1) ?? { round: 0 }
    await peer.waitFor('round', (event) => event.round > round)
  })

  it('of another version is told ours, and both name the field', async () => {
    const { peer, address } = await start('fr', freshState(), [])
    const newer = Hello.encode({ version: 2, manifest: new Uint8Array(), addresses: [] })
    const answer = await say(await stranger(), address, '/comigs/hello', newer)
    expect(Hello.decode(answer).version).toBe(1)
    const { code, message } = await peer.waitFor('refused')
    expect(code).toBe('MANIFEST_MISMATCH')
    expect(message).toContain('"comigs" is 2 there and 1 here')
  })
})

describe('a peer that trains alone', () => {
  it('tells nothing of what it learnt, to its end', async () => {
    const state = freshState()
    const alone = ['--strategy', 'local', '--rounds', '1', '--json', '--listen', '/ip4/127.0.0.1/tcp/0']
    const { code, stdout } = await runCli(peerArguments('fr', base, state, alone))
    expect(code).toBe(0)
    expect(stdout).toContain('"event":"result"')
    expect(await readdir(state)).not.toContain('published')
  })
})

describe('differential privacy', () => {
  let file: string
  beforeAll(async () => {
    const made = await newManifest(base, {
      name: 'private',
      seed: 1,
      schedule: forRounds(50),
      codec: { values: 'int8' },
      robust: true,
    })
    file = join(folder, 'private.json')
    await writeFile(file, JSON.stringify({ ...made, privacy: { clip: 0.5, noise: 2 } }))
  })
  const run = (state: string, rounds: number, strategy = 'comigs', extra: readonly string[] = []) =>
    runCli([
      ...peerArguments('fr', base, state, ['--manifest', file, '--strategy', strategy, ...extra]),
      ...['--rounds', String(rounds), '--json', '--listen', '/ip4/127.0.0.1/tcp/0'],
    ])

  it('is spent round by round, told, and remembered over a restart', async () => {
    const state = freshState()
    const epsilons = async (rounds: number) => {
      const { code, stdout } = await run(state, rounds)
      expect(code).toBe(0)
      const events = stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as PeerEvent)
      return events.flatMap((event) => (event.event === 'round' ? [event.epsilon] : []))
    }
    expect(await epsilons(2)).toEqual([1, 2].map((releases) => epsilonSpent(releases, 2)))
    expect(await epsilons(4)).toEqual([3, 4].map((releases) => epsilonSpent(releases, 2)))
    // Who cannot say how much was spent does not go on as if nothing was.
    await rm(join(state, 'privacy.json'))
    const { code, stderr } = await run(state, 5)
    expect(code).toBe(7)
    expect(stderr).toContain('privacy.json')
  })

  it('counts no perplexity that is published, so that none is', async () => {
    const state = freshState()
    const { code, stdout, stderr } = await run(state, 1, 'comigs', ['--publish-perplexity'])
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain('[OPTION_INVALID]')
    expect(stderr).toContain('--publish-perplexity')
    expect(await readdir(state)).not.toContain('published')
  })

  it('is not got around by training alone first: nothing of that is ever told', async () => {
    const state = freshState()
    expect((await run(state, 1, 'local')).code).toBe(0)
    const { code, stderr } = await run(state, 2)
    expect(code).toBe(7)
    expect(stderr).toContain('--strategy local')
    expect(await readdir(state)).not.toContain('published')
    // Nor when it is taken away and brought back.
    const taken = join(folder, 'alone.safetensors')
    await exportModel({ as: 'mixture', state, out: taken, expert: 0, base, hubName: null })
    const back = freshState()
    await importMixture({ file: taken, state: back, base })
    expect(await readStateDirectory(back).privacy(1)).toEqual({ releases: 0, unprotected: true })
  })
})
