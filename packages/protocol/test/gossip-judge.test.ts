import { describe, expect, it } from 'vitest'
import type { Announcement } from '../src/announcement.ts'
import { LIMITS } from '../src/limits.ts'
import { announcementOf, forge } from './support/federation.ts'
import { randomBytes, randomVector, seeded } from './support/random.ts'
import { hashSigner, identity } from './support/signers.ts'
import { settle } from './support/virtual-clock.ts'
import {
  copyAt,
  createWorld,
  meet,
  type Peer,
  startPeer,
  startPeers,
  tell,
  told,
  type World,
} from './support/world.ts'

const x = (seed: number) => randomVector(64, seed)

/** Bob, and what he makes of messages. */
async function listener() {
  const world = createWorld()
  const bob = await startPeer(world, 'bob')
  const judge = (data: Uint8Array, author: string) => world.pubsub.judge(world.topic, data, author, 'bob')
  const forged = (author: string, fields: Partial<Announcement> = {}) =>
    forge(announcementOf(world.manifest, author, fields), hashSigner(author))
  return { world, bob, judge, forged }
}

/** Many authors that only one peer hears; each has told it one copy. */
async function crowd(world: World, bob: Peer, size: number): Promise<Peer[]> {
  world.pubsub.lost = (_, to) => to !== bob.name
  const authors: Peer[] = []
  for (let i = 0; i < size; i++) {
    const author = await startPeer(world, `author-${String(i).padStart(3, '0')}`)
    await meet(world, author, bob)
    await tell(author, x(i), 1)
    authors.push(author)
  }
  return authors
}

describe('an announcement on gossipsub', () => {
  it.each([
    ['random bytes', randomBytes(300, seeded(1))],
    ['nothing', new Uint8Array()],
    ['more bytes than the limit', new Uint8Array(LIMITS.announcementBytes + 1)],
  ])('is rejected when it is %s', async (_, data) => {
    const { bob, judge } = await listener()
    expect(await judge(data, 'alice')).toBe('reject')
    expect(bob.refusals).toEqual([{ reason: 'malformed', peer: 'alice' }])
  })

  it.each<[string, Partial<Announcement>]>([
    ['of another federation', { federation: new Uint8Array(32).fill(9) }],
    ['of another version', { version: 2 }],
    ['of an empty payload', { length: 0 }],
    ['of a payload larger than a copy', { length: 4 * 64 + 1 }],
  ])('is rejected when it is %s', async (_, fields) => {
    const { bob, judge, forged } = await listener()
    expect(await judge((await forged('alice', fields)).data, 'alice')).toBe('reject')
    expect(bob.refusals).toEqual([{ reason: 'malformed', peer: 'alice' }])
  })

  it('is rejected when its author is not its sender', async () => {
    const { bob, judge, forged } = await listener()
    expect(await judge((await forged('alice')).data, 'mallory')).toBe('reject')
    expect(bob.refusals).toEqual([{ reason: 'malformed', peer: 'mallory' }])
  })

  it('is rejected when the signature is not its author’s', async () => {
    const { world, bob, judge } = await listener()
    const { data } = await forge(announcementOf(world.manifest, 'alice'), hashSigner('mallory'))
    expect(await judge(data, 'alice')).toBe('reject')
    expect(bob.refusals).toEqual([{ reason: 'signature', peer: 'alice' }])
  })

  it('is ignored when its author is not on our list, also when a peer that is has its copy', async () => {
    const world = createWorld()
    const bob = await startPeer(world, 'bob', { admits: (peer) => peer !== 'stranger' })
    const [alice, stranger] = [await startPeer(world, 'alice'), await startPeer(world, 'stranger')]
    await meet(world, alice, stranger)
    await meet(world, alice, bob)
    await tell(stranger, x(1), 1)
    await tell(alice, x(2), 1)
    expect(bob.refusals).toEqual([{ reason: 'stranger', peer: 'stranger' }])
    expect(alice.gossip.neighbours().map(({ peer }) => peer)).toEqual(['stranger'])
    await world.clock.run(bob.gossip.catchUp('alice'))
    expect(bob.gossip.neighbours().map(({ peer }) => peer)).toEqual(['alice'])
  })

  it('is judged the same with real keys', async () => {
    const world = createWorld()
    const [alice, mallory] = [await identity(1), await identity(2)]
    await startPeer(world, 'bob', { signer: alice.signer })
    const announcement = announcementOf(world.manifest, alice.name)
    const right = await forge(announcement, alice.signer)
    const wrong = await forge(announcement, mallory.signer)
    expect(await world.pubsub.judge(world.topic, wrong.data, alice.name, 'bob')).toBe('reject')
    expect(await world.pubsub.judge(world.topic, right.data, alice.name, 'bob')).toBe('accept')
  })

  it('starts no pull when it is not accepted', async () => {
    const { world, judge, forged } = await listener()
    await judge((await forged('alice', { version: 2 })).data, 'alice')
    await settle()
    expect(world.network.wire('bob').connected()).toEqual([])
  })

  it('is ignored, not punished, when it is a duplicate, old, or our own', async () => {
    const world = createWorld()
    const [alice, bob] = (await startPeers(world, ['alice', 'bob'])) as [Peer, Peer]
    await tell(alice, x(1), 1)
    await tell(alice, x(2), 2)
    const [first, second] = alice.states.map(({ announcement }) => announcement)
    const judge = (data: Uint8Array, at: string) => world.pubsub.judge(world.topic, data, 'alice', at)
    expect(await judge(second!, 'bob')).toBe('ignore')
    expect(await judge(first!, 'bob')).toBe('ignore')
    expect(await judge(second!, 'alice')).toBe('ignore')
    await settle()
    expect(copyAt(bob, 'alice')).toBe(told(alice, 1))
    expect(bob.refusals.filter(({ reason }) => reason !== 'old')).toEqual([])
  })

  it('is ignored when it is older than the one that is being pulled', async () => {
    const world = createWorld()
    const [alice] = (await startPeers(world, ['alice', 'bob'])) as [Peer, Peer]
    world.pubsub.lost = () => true
    await tell(alice, x(1), 1)
    await tell(alice, x(2), 2)
    world.network.stall('alice', 'bob')
    const [first, second] = alice.states.map(({ announcement }) => announcement)
    expect(await world.pubsub.judge(world.topic, second!, 'alice', 'bob')).toBe('accept')
    expect(await world.pubsub.judge(world.topic, first!, 'alice', 'bob')).toBe('ignore')
  })

  it('is relayed by those who accept it: a peer beyond a neighbour hears it', async () => {
    const world = createWorld()
    const [alice, , carol] = (await startPeers(world, ['alice', 'bob', 'carol'])) as [Peer, Peer, Peer]
    world.pubsub.lost = (author, to) => author === 'alice' && to === 'nobody'
    await tell(alice, x(1), 1)
    expect(world.pubsub.judgements.map(({ at, verdict }) => `${at} ${verdict}`)).toEqual([
      'bob accept',
      'carol accept',
    ])
    expect(copyAt(carol, 'alice')).toBe(told(alice, 0))
  })
})

describe('the rate limit', () => {
  it('lets a burst of one author through and ignores the rest until an interval has passed', async () => {
    const { world, bob, judge, forged } = await listener()
    const verdicts: string[] = []
    for (let sequence = 1; sequence <= LIMITS.announcementBurst + 2; sequence++) {
      verdicts.push(await judge((await forged('alice', { sequence })).data, 'alice'))
    }
    expect(verdicts).toEqual([...Array<string>(LIMITS.announcementBurst).fill('accept'), 'ignore', 'ignore'])
    expect(bob.refusals.filter(({ reason }) => reason === 'rate')).toHaveLength(2)
    expect(await judge((await forged('carol')).data, 'carol')).toBe('accept')

    await world.clock.advance(LIMITS.announcementIntervalMs)
    expect(await judge((await forged('alice', { sequence: 100 })).data, 'alice')).toBe('accept')
    expect(await judge((await forged('alice', { sequence: 101 })).data, 'alice')).toBe('ignore')
  })
})

describe('the limit of copies', () => {
  it('refuses one author more than that, ignores its announcement, and goes on with those that it follows', async () => {
    const { world, bob } = await listener()
    const authors = await crowd(world, bob, LIMITS.copies)
    expect(bob.gossip.neighbours()).toHaveLength(LIMITS.copies)
    const late = await startPeer(world, 'late')
    await meet(world, late, bob)
    await tell(late, x(99), 1)
    expect(bob.refusals).toEqual([{ reason: 'full', peer: 'late' }])
    expect(world.pubsub.judgements.at(-1)).toEqual({ at: 'bob', author: 'late', verdict: 'ignore' })

    await tell(authors[0]!, x(100), 2)
    expect(copyAt(bob, authors[0]!.name)).toBe(told(authors[0]!, 1))
  })

  it('counts an author once, also while its next delta is being pulled', async () => {
    const { world, bob } = await listener()
    const authors = await crowd(world, bob, LIMITS.copies / 2 + 1)
    for (const author of authors) {
      world.network.stall(author.name, 'bob')
      await tell(author, x(50), 2)
    }
    const late = await startPeer(world, 'late')
    await meet(world, late, bob)
    await tell(late, x(99), 1)
    expect(bob.refusals).toEqual([])
    expect(copyAt(bob, 'late')).toBe(told(late, 0))
  })

  it('does not keep a peer from catching up with the authors that it follows already', async () => {
    const { world, bob } = await listener()
    const [first] = await crowd(world, bob, LIMITS.copies)
    world.pubsub.lost = () => true
    await tell(first!, x(100), 2)
    await world.clock.run(bob.gossip.catchUp(first!.name))
    expect(copyAt(bob, first!.name)).toBe(told(first!))
  })
})
