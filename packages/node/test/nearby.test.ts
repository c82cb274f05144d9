import '../src/polyfill.ts'

import { multiaddr } from '@multiformats/multiaddr'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { NodeError } from '../src/errors.ts'
import { EVERYONE } from '../src/host/admission.ts'
import { createNearby, findNearby, type Nearby } from '../src/host/nearby.ts'
import { identity } from '../../protocol/test/support/signers.ts'
import { hasMulticast } from './support/multicast.ts'

const log = { debug: () => undefined, warn: () => undefined }
const FEDERATION = 'ab'.repeat(32)

const running: Nearby[] = []
afterEach(async () => {
  await Promise.all(running.splice(0).map((nearby) => nearby.stop()))
})

/** Someone at an address of its own; resolves when it has found somebody. */
async function start(index: number, federation: string, address: string) {
  const { name } = await identity(index)
  const found = new Map<string, readonly string[]>()
  const { promise: foundOne, resolve } = Promise.withResolvers<undefined>()
  const nearby = createNearby({
    federation,
    addresses: () => [multiaddr(`${address}/p2p/${name}`)],
    onFound(peer, addresses) {
      found.set(peer, addresses)
      resolve(undefined)
    },
    log,
  })
  running.push(nearby)
  await nearby.start()
  return { name, found, foundOne }
}

describe('in the local network', () => {
  let isPossible = false
  beforeAll(async () => {
    isPossible = await hasMulticast()
  })

  it('peers of a federation find each other, and nobody else', async ({ skip }) => {
    skip(!isPossible, 'no multicast on this machine')
    const stranger = await start(1, 'cd'.repeat(32), '/ip4/127.0.0.1/tcp/1')
    const [a, b] = [
      await start(2, FEDERATION, '/ip4/127.0.0.1/tcp/2'),
      await start(3, FEDERATION, '/ip4/127.0.0.1/tcp/3'),
    ]
    await Promise.all([a.foundOne, b.foundOne])
    expect(a.found).toEqual(new Map([[b.name, ['/ip4/127.0.0.1/tcp/3']]]))
    expect(b.found).toEqual(new Map([[a.name, ['/ip4/127.0.0.1/tcp/2']]]))
    expect(stranger.found).toEqual(new Map())
  })

  it('a public address is told to nobody', async ({ skip }) => {
    skip(!isPossible, 'no multicast on this machine')
    const hidden = await start(4, FEDERATION, '/ip4/8.8.8.8/tcp/4')
    const [a, b] = [
      await start(5, FEDERATION, '/ip4/127.0.0.1/tcp/5'),
      await start(6, FEDERATION, '/ip4/127.0.0.1/tcp/6'),
    ]
    await Promise.all([a.foundOne, b.foundOne])
    expect([a.found, b.found].map((found) => found.has(hidden.name))).toEqual([false, false])
  })
})

it('is not looked for by too little of its name', async () => {
  const knocker = { key: {} as never, admission: EVERYONE }
  const looking = findNearby('abcdef', knocker, log)
  await expect(looking).rejects.toSatisfy(
    (error) => error instanceof NodeError && error.detail.code === 'OPTION_INVALID',
  )
})
