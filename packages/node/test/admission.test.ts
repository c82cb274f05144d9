import '../src/polyfill.ts'

import { generateKeyPair } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import type { Multiaddr } from '@multiformats/multiaddr'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { NodeError, type NodeErrorDetail } from '../src/errors.ts'
import { type Admission, EVERYONE, makeKey, readAdmission } from '../src/host/admission.ts'
import { createHost, type Host } from '../src/host/host.ts'
import { fetchManifest } from '../src/host/knock.ts'

const newKey = async () => (await generateKeyPair('Ed25519')) as unknown as PrivateKey
const idOf = (key: PrivateKey) => peerIdFromPrivateKey(key).toString()
const psk = (): Admission => ({ ...EVERYONE, psk: new TextEncoder().encode(makeKey().trimEnd()) })

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comigs-admission-'))
})
afterAll(() => rm(folder, { recursive: true }))

const file = async (name: string, text: string): Promise<string> => {
  await writeFile(join(folder, name), text)
  return join(folder, name)
}

async function refusal(promise: Promise<unknown>): Promise<NodeErrorDetail> {
  try {
    await promise
  } catch (error) {
    if (error instanceof NodeError) return error.detail
    throw error
  }
  throw new Error('it was not refused')
}

describe('readAdmission', () => {
  it('admits everyone when nothing is said', async () => {
    const { psk, admits } = await readAdmission({ psk: undefined, allow: undefined })
    expect([psk, admits('anyone')]).toEqual([undefined, true])
  })

  it('admits who is named, or stands in a file that is', async () => {
    const keys = await Promise.all(Array.from({ length: 4 }, newKey))
    const [a, b, c, d] = keys.map(idOf)
    const list = await file('list', `# friends\n${b!}  # Bob\n\n  ${c!}\n`)
    const { admits } = await readAdmission({ psk: undefined, allow: [a!, list] })
    expect([a, b, c, d].map((peer) => admits(peer!))).toEqual([true, true, true, false])
  })

  it('reads the key that it makes, and no other text', async () => {
    const path = await file('good', makeKey())
    expect((await readAdmission({ psk: path, allow: undefined })).psk).toHaveLength(95)
    for (const text of ['', 'secret', makeKey().replace('base16', 'base64'), makeKey().slice(0, -3)]) {
      const bad = await file('bad', text)
      expect(await refusal(readAdmission({ psk: bad, allow: undefined }))).toMatchObject({
        code: 'OPTION_INVALID',
        option: '--psk',
      })
    }
  })

  it.each([
    ['a missing file', 'no-such-file'],
    ['an id of another type', 'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N'],
  ])('refuses %s', async (_, entry) => {
    expect(await refusal(readAdmission({ psk: undefined, allow: [entry] }))).toMatchObject({
      code: 'OPTION_INVALID',
      option: '--allow',
      value: entry,
    })
  })

  it('names the line that is no peer id', async () => {
    const path = await file('typo', '12D3KooWtypo\n')
    expect(await refusal(readAdmission({ psk: undefined, allow: [path] }))).toMatchObject({
      reason: 'has a line that is not a peer id: 12D3KooWtypo',
    })
  })
})

describe('over TCP', () => {
  const hosts: Host[] = []
  afterEach(async () => {
    await Promise.all(hosts.splice(0).map(async (host) => host.stop()))
  })

  async function start(
    admission: Admission,
    options: {
      key?: PrivateKey
      isCutOff?: (peer: string) => boolean
      relay?: boolean
      listen?: readonly string[]
    } = {},
  ) {
    const host = await createHost({
      key: options.key ?? (await newKey()),
      listen: options.listen ?? ['/ip4/127.0.0.1/tcp/0'],
      announce: [],
      federation: 'f'.repeat(64),
      crowded: true,
      admission,
      relay: options.relay === true,
      ...(options.isCutOff === undefined ? {} : { isCutOff: options.isCutOff }),
    })
    hosts.push(host)
    return host
  }
  const address = (host: Host): Multiaddr => host.getMultiaddrs()[0]!
  const dial = (from: Host, to: Host) => from.dial(address(to), { signal: AbortSignal.timeout(5000) })
  /** Dialling may succeed for a moment on the refused side; a stream never does. */
  const reaches = async (from: Host, to: Host): Promise<boolean> => {
    try {
      const connection = await dial(from, to)
      const stream = await connection.newStream('/ipfs/ping/1.0.0', { signal: AbortSignal.timeout(5000) })
      // Left open it would be the only one there may be, and libp2p's own ping, 10 s on, would find no place and hang up.
      await stream.close()
      return true
    } catch {
      return false
    }
  }

  it('peers with the same key reach each other; without it, or with another, nobody does', async () => {
    const key = psk()
    const [a, b, other, none] = [
      await start(key),
      await start(key),
      await start(psk()),
      await start(EVERYONE),
    ]
    expect(await reaches(a, b)).toBe(true)
    for (const stranger of [other, none]) {
      expect(await reaches(stranger, a)).toBe(false)
      expect(await reaches(a, stranger)).toBe(false)
      expect(a.getPeers().map(String)).toEqual([b.peerId.toString()])
    }
  })

  it('a peer off the list reaches nobody, in either direction', async () => {
    const friendKey = await newKey()
    const closed: Admission = { psk: undefined, admits: (peer) => peer === idOf(friendKey) }
    const [a, friend, stranger] = [
      await start(closed),
      await start(EVERYONE, { key: friendKey }),
      await start(EVERYONE),
    ]
    expect(await reaches(friend, a)).toBe(true)
    expect(await reaches(stranger, a)).toBe(false)
    expect(await reaches(a, stranger)).toBe(false)
    expect(a.getPeers().map(String)).toEqual([friend.peerId.toString()])
  })

  it('a peer that was cut off reaches us no more', async () => {
    let enough = false
    const [a, mallory] = [await start(EVERYONE, { isCutOff: () => enough }), await start(EVERYONE)]
    expect(await reaches(mallory, a)).toBe(true)
    await a.hangUp(mallory.peerId)
    enough = true
    expect(await reaches(mallory, a)).toBe(false)
  })

  /** Says something to a host's port, as whoever does not speak libp2p; all that comes back. */
  const raw = async (host: Host, said: Uint8Array): Promise<Buffer> => {
    const socket = connect(address(host).nodeAddress().port, '127.0.0.1')
    socket.on('error', () => undefined) // hung up on
    const heard: Buffer[] = []
    socket.on('data', (data: Buffer) => heard.push(data))
    socket.end(said)
    await new Promise((resolve) => socket.on('close', resolve))
    return Buffer.concat(heard)
  }
  const MULTISTREAM = '\x13/multistream/1.0.0\n'

  it('who has no key hears 24 random bytes, whatever it says, and no more', async () => {
    const a = await start(psk())
    // A nonce first, as the key's protocol has it; what follows it is noise to whoever does not know the key.
    const said = Buffer.concat([Buffer.alloc(24, 7), Buffer.from(`${MULTISTREAM}\x07/noise\n`)])
    const [first, second] = [await raw(a, said), await raw(a, said)]
    expect([first.length, second.length]).toEqual([24, 24])
    expect(first.equals(second)).toBe(false)
  })

  it('who is off the list proves its id, and is told of no protocol', async () => {
    const a = await start({ psk: undefined, admits: () => false })
    const stranger = await start(EVERYONE)
    let isOver = Promise.resolve()
    stranger.addEventListener('connection:open', ({ detail }) => {
      isOver = new Promise<void>((resolve) =>
        stranger.addEventListener('connection:close', (event) => {
          if (event.detail.id === detail.id) resolve()
        }),
      )
    })
    await dial(stranger, a).catch(() => undefined)
    await isOver
    // What a peer speaks is the first that it tells.
    const told = await stranger.peerStore.get(a.peerId).catch(() => ({ protocols: [] }))
    expect(told.protocols).toEqual([])
    expect(a.getPeers()).toEqual([])
  })

  it('a peer whose id is not of an Ed25519 key is nobody, whoever else is welcome', async () => {
    const a = await start(EVERYONE)
    const key = (await generateKeyPair('secp256k1')) as unknown as PrivateKey
    const other = await start(EVERYONE, { key })
    expect(await reaches(other, a)).toBe(false)
    expect(await reaches(a, other)).toBe(false)
    expect(a.getPeers()).toEqual([])
  })

  it.each([
    ['without the key', psk(), EVERYONE, 'perhaps a private federation: --psk'],
    ['with a key where there is none', EVERYONE, psk(), 'perhaps it has another --psk, or none'],
    ['off the list', { psk: undefined, admits: () => false }, EVERYONE, 'perhaps its --allow list lacks us'],
  ] as const)('a joiner %s is told only that it is refused', async (_, ours, theirs, hint) => {
    const a = await start(ours)
    const knocking = fetchManifest(address(a).toString(), { key: await newKey(), admission: theirs })
    // To who has no key, the other's random bytes may look like the beginning of a long message: then time runs out.
    expect(await refusal(knocking)).toMatchObject({
      code: 'BOOTSTRAP_FAILED',
      stage: 'handshake',
      reason: expect.stringContaining(hint),
    })
    expect(a.getPeers()).toEqual([])
  })

  it('a joiner off the list is told so through a relay, too; and that nobody is there, where nobody is', async () => {
    const relay = await start(EVERYONE, { relay: true })
    const relayId = relay.peerId.toString()
    const admission = { psk: undefined, admits: (peer: string) => peer === relayId }
    const target = await start(admission, { listen: [`${address(relay).toString()}/p2p-circuit`] })
    await expect.poll(() => target.getMultiaddrs().length, { timeout: 10_000 }).toBeGreaterThan(0)
    const key = await newKey()
    expect(
      await refusal(fetchManifest(address(target).toString(), { key, admission: EVERYONE })),
    ).toMatchObject({
      stage: 'handshake',
      reason: expect.stringContaining('perhaps its --allow list lacks us'),
    })
    const nobody = `${address(relay).toString()}/p2p-circuit/p2p/${idOf(await newKey())}`
    expect(await refusal(fetchManifest(nobody, { key, admission: EVERYONE }))).toMatchObject({
      stage: 'dial',
      reason: expect.not.stringContaining('private federation'),
    })
  })
})
