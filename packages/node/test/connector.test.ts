import { type Manifest, positionOf, ProtocolError } from '@comigs/protocol'
import { describe, expect, it } from 'vitest'
import { identity } from '../../protocol/test/support/signers.ts'
import { seeded } from '../../protocol/test/support/random.ts'
import { VirtualClock } from '../../protocol/test/support/virtual-clock.ts'
import { createConnector } from '../src/host/connector.ts'
import type { Dialer } from '../src/host/dialer.ts'

const MINUTE_MS = 60_000

const BOOTSTRAP = '/ip4/127.0.0.1/tcp/1'

/**
 * A connector whose only bootstrap peer can be dialled, and says hello as it is told to.
 * @param others - how many others that peer tells of
 */
async function connector(hello: () => Promise<Manifest>, others = 0) {
  const [self, ...known] = await Promise.all(Array.from({ length: 8 + others }, (_, i) => identity(1 + i)))
  const side = ({ name }: { name: string }) => positionOf(name)[0]
  // Should there be two cells, it is not of ours.
  const other = known.find((one) => side(one) !== side(self!))!
  const clock = new VirtualClock()
  const dials: number[] = []
  const tried: string[] = []
  let isConnected = false
  let events: Parameters<Dialer['listen']>[0]
  const told: string[] = []
  const made = createConnector({
    dialer: {
      self: self!.name,
      addresses: () => [],
      connected: () => (isConnected ? [other.name] : []),
      async dial([address]) {
        tried.push(address!)
        if (!address!.startsWith(BOOTSTRAP)) throw new Error('nobody is there')
        dials.push(clock.now())
        isConnected = true
        events.onOpen(other.name, 'outbound')
        return other.name
      },
      async hangUp(peer) {
        isConnected = false
        events.onClose(peer)
      },
      listen(given) {
        events = given
        return () => undefined
      },
    },
    exchange: {
      admitted: () => (isConnected ? [other.name] : []),
      async hello(peer) {
        told.push(peer)
        return hello()
      },
      forget: () => undefined,
      fetchPeers: async () =>
        known.slice(0, others).map(({ name }) => ({
          peer: name,
          addresses: ['/ip4/127.0.0.1/tcp/2'],
          ageSeconds: 0,
        })),
    },
    clock,
    random: seeded(1),
    log: { debug: () => undefined, info: () => undefined },
    bootstrap: [BOOTSTRAP],
    known: {},
    onCell: () => undefined,
  })
  made.start()
  const hungUp = () => {
    isConnected = false
    events.onClose(other.name)
  }
  return {
    made,
    known,
    clock,
    dials,
    tried,
    told,
    hungUp,
    moved: () => events.onMoved(),
    stop: () => made.stop(),
  }
}

describe('the connector', () => {
  it('tries again soon when an introduction got lost, with growing pauses', async () => {
    const peer = 'the other'
    const { clock, dials, stop } = await connector(async () => {
      throw new ProtocolError({ code: 'PEER_TIMEOUT', peer, what: 'hello', afterMs: 10_000 })
    })
    await clock.advance(10 * MINUTE_MS)
    stop()
    const pauses = dials.slice(1).map((at, i) => at - dials[i]!)
    expect(pauses[0]).toBeLessThan(5000)
    expect(Math.max(...pauses)).toBeGreaterThan(20_000)
    expect(Math.max(...pauses)).toBeLessThan(1.6 * MINUTE_MS)
  })

  it('asks a peer of another federation again after minutes', async () => {
    const versions = { field: 'name', ours: 'a', theirs: 'b' }
    const { clock, dials, stop } = await connector(async () => {
      throw new ProtocolError({ code: 'MANIFEST_MISMATCH', ...versions })
    })
    await clock.advance(4 * MINUTE_MS)
    stop()
    expect(dials).toHaveLength(1)
  })

  it.each([
    ['less and less often an outsider that hangs up soon', 24, 1000, 20_000, 1.6 * MINUTE_MS],
    ['soon an outsider that hangs up after a while', 24, 2 * MINUTE_MS, 0, 2000],
    ['soon one of our cell that hangs up soon', 0, 1000, 0, 2000],
  ])('dials %s', async (_, others, lastingMs, least, most) => {
    const { clock, dials, hungUp, stop } = await connector(async () => ({}) as Manifest, others)
    let pause = 0
    for (let time = 1; time <= 8; time++) {
      await clock.advance(lastingMs)
      hungUp()
      const closed = clock.now()
      while (dials.length <= time) await clock.advance(250)
      pause = dials.at(-1)! - closed
    }
    stop()
    expect(pause).toBeGreaterThan(least)
    expect(pause).toBeLessThan(most)
  })

  it('dials whom it finds nearby, where it was found last, and of any number a few', async () => {
    const { made, known, clock, tried, stop } = await connector(async () => ({}) as Manifest, 40)
    for (const [i, { name }] of known.entries()) made.found(name, ['nonsense', `/ip4/10.0.0.1/tcp/${i + 1}`])
    const { name } = known.at(-1)!
    made.found(name, ['/ip4/10.0.0.2/tcp/9'])
    await clock.advance(300) // one look around
    stop()
    const nearby = tried.filter((address) => address.startsWith('/ip4/10.'))
    expect(nearby).toContain(`/ip4/10.0.0.2/tcp/9/p2p/${name}`)
    expect(nearby.filter((address) => address.endsWith(name))).toHaveLength(1)
    expect(nearby).toHaveLength(32)
    expect(Object.keys(made.known())).not.toContain(name)
  })

  it('tells everyone when it has moved', async () => {
    const { clock, told, moved, stop } = await connector(async () => ({}) as Manifest)
    await clock.advance(MINUTE_MS)
    const before = told.length
    moved()
    await clock.advance(1)
    stop()
    expect(told).toHaveLength(before + 1)
  })
})
