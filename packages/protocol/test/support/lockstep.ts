import { settle } from './virtual-clock.ts'
import { type Peer, type World } from './world.ts'

/** A peer and its parameters. */
export interface Trainee {
  readonly peer: Peer
  readonly x: Float32Array
}

/**
 * One round of everyone at once, as the round loop of a peer has it: local steps, publish, collect, mix.
 * @param train - changes x in place
 */
export async function roundTogether(
  world: World,
  trainees: readonly Trainee[],
  round: number,
  train: (x: Float32Array, index: number) => void,
): Promise<void> {
  trainees.forEach(({ x }, index) => train(x, index))
  await Promise.all(trainees.map(({ peer, x }) => peer.gossip.publish(x, round)))
  await settle()
  await world.clock.run(Promise.all(trainees.map(({ peer }) => peer.gossip.collect({ maxMs: 1000 }))))
  const increments = trainees.map(({ peer, x }) => peer.gossip.mix(x).increment)
  trainees.forEach(({ x }, index) => {
    for (let k = 0; k < x.length; k++) x[k]! += increments[index]![k]!
  })
  await world.clock.advance(1000)
}
