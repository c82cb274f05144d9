import { equals } from 'uint8arrays/equals'
import { describe, expect, it } from 'vitest'
import { type CodecChoice, codecOf } from '../src/codec/codec.ts'
import { distance, mean, norm } from '../src/mixing.ts'
import { Announcement } from '../src/pb/messages.ts'
import { copyBytes, sha256 } from './support/federation.ts'
import { roundTogether, type Trainee } from './support/lockstep.ts'
import { randomVector } from './support/random.ts'
import { copyAt, createWorld, startPeers, told, type World } from './support/world.ts'

const ids = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `peer-${String.fromCharCode(97 + i)}`)

async function swarm(
  codec: CodecChoice['values'] | CodecChoice,
  count: number,
  parameters: number,
): Promise<{ world: World; trainees: Trainee[] }> {
  const world = createWorld(codec, parameters)
  const peers = await startPeers(world, ids(count))
  return { world, trainees: peers.map((peer) => ({ peer, x: world.initial.slice() })) }
}

/** Gradient steps on |x - target|² / 2. */
const towards = (targets: readonly Float32Array[], rate: number) => (x: Float32Array, index: number) => {
  for (let k = 0; k < x.length; k++) x[k]! += rate * (targets[index]![k]! - x[k]!)
}

/** How far the followers' copies are from what their authors published: hashes of bytes, so that a single bit counts. */
function differingCopies(trainees: readonly Trainee[]): string[] {
  return trainees.flatMap(({ peer: author }) => {
    const published = copyBytes(author.states.at(-1)!.copy)
    return trainees
      .filter(({ peer }) => {
        const held = peer.gossip.holdings.copy(author.name)!
        const { copyHash } = Announcement.decode(held.announcement.body)
        return !equals(held.bytes, published) || !equals(copyHash, sha256(published))
      })
      .map(({ peer }) => `${peer.name}'s copy of ${author.name}`)
  })
}

const CHOICES: readonly CodecChoice[] = [
  { values: 'float32' },
  { values: 'float16' },
  { values: 'int8' },
  { values: 'int4' },
  { values: 'int8', topK: 0.1 },
  { values: 'int4', topK: 0.25 },
]

describe('a swarm in step', () => {
  it('makes the server average with float32: x of everyone, after every mixture', async () => {
    const { world, trainees } = await swarm('float32', 5, 300)
    for (let round = 1; round <= 6; round++) {
      let average: Float32Array = new Float32Array()
      await roundTogether(world, trainees, round, (x, index) => {
        const update = randomVector(x.length, 100 * round + index, 0.3)
        for (let k = 0; k < x.length; k++) x[k]! += update[k]!
        // When the last has trained, this is what a server would make of it: summed in the order of the peers' ids.
        if (index === trainees.length - 1) average = mean(trainees.map((trainee) => trainee.x))
      })
      for (const { x } of trainees) expect(distance(x, average) / norm(average)).toBeLessThan(1e-6)
    }
  })

  it.each(CHOICES.map((choice) => [codecOf(choice).name, choice] as const))(
    'has bit-equal copies of everyone at everyone with %s, after every round',
    async (_, choice) => {
      const { world, trainees } = await swarm(choice, 4, 150)
      const targets = trainees.map((_, i) => randomVector(150, 50 + i))
      for (let round = 1; round <= 8; round++) {
        await roundTogether(world, trainees, round, towards(targets, 0.3))
        expect(differingCopies(trainees)).toEqual([])
      }
      expect(trainees.flatMap(({ peer }) => peer.refusals)).toEqual([])
    },
  )

  it('announces the hash of the copy that it serves', async () => {
    const { world, trainees } = await swarm('int8', 3, 150)
    await roundTogether(
      world,
      trainees,
      1,
      towards(
        trainees.map((_, i) => randomVector(150, i)),
        0.5,
      ),
    )
    const [{ peer: first }, { peer: second }] = trainees as [Trainee, Trainee, Trainee]
    expect(second.gossip.holdings.copy(first.name)!.bytes).toEqual(
      first.gossip.holdings.copy(first.name)!.bytes,
    )
    expect(copyAt(second, first.name)).toBe(told(first))
  })

  it.each<[CodecChoice['values'] | CodecChoice, number]>([
    [{ values: 'int8', topK: 0.2 }, 5e-2],
    ['int4', 2e-2],
    ['int8', 1e-2],
    ['float16', 1e-3],
    ['float32', 1e-5],
  ])('finds the mean of all targets with %s, and agrees on it', async (codec, tolerance) => {
    const { world, trainees } = await swarm(codec, 6, 200)
    const targets = trainees.map((_, i) => randomVector(200, 10 + i, 2))
    const solution = mean(targets)
    // A smaller and smaller step: with a constant one every peer keeps being pulled to its own target.
    for (let round = 1; round <= 65; round++) {
      await roundTogether(world, trainees, round, towards(targets, 0.3 * 0.6 ** Math.max(0, round - 40)))
    }
    const centre = mean(trainees.map(({ x }) => x))
    expect(distance(centre, solution) / norm(solution)).toBeLessThan(tolerance)
    for (const { x } of trainees) expect(distance(x, centre) / norm(solution)).toBeLessThan(tolerance)
    for (const { peer, x } of trainees) expect(peer.gossip.consensus(x)).toBeLessThan(tolerance)
  })

  it('loses nothing by int8: what one delta leaves out goes out with the next', async () => {
    const { world, trainees } = await swarm('int8', 4, 200)
    const start = trainees.map(({ x }, i) => x.map((value, k) => value + randomVector(200, 30 + i)[k]!))
    const target = mean(start)
    trainees.forEach(({ x }, i) => x.set(start[i]!))
    const gaps: number[] = []
    for (let round = 1; round <= 8; round++) {
      await roundTogether(world, trainees, round, () => undefined)
      gaps.push(Math.max(...trainees.map(({ x }) => distance(x, target))) / norm(target))
      // Mixing moves nobody's sum: the mean is where it was.
      expect(distance(mean(trainees.map(({ x }) => x)), target) / norm(target)).toBeLessThan(1e-6)
    }
    // Each round sends the rest of the last with a finer scale; without error feedback the first error would stay.
    expect(gaps[0]).toBeGreaterThan(1e-3)
    expect(gaps.at(-1)).toBeLessThan(1e-6)
  })

  it('runs the same twice', async () => {
    const run = async () => {
      const { world, trainees } = await swarm('int8', 3, 100)
      const targets = trainees.map((_, i) => randomVector(100, 70 + i))
      for (let round = 1; round <= 5; round++)
        await roundTogether(world, trainees, round, towards(targets, 0.3))
      return trainees.map(({ peer, x }) => ({
        x,
        diary: peer.diary,
        announcement: peer.states.at(-1)!.announcement,
      }))
    }
    expect(await run()).toEqual(await run())
  })
})
