import { difference, mean } from '@comigs/protocol'
import { nesterov } from '../../momentum.ts'
import type { Merge } from '../merge.ts'
import type { Strategy } from '../strategy.ts'
import { comigs1G1S } from './comigs.ts'

/** How much of the last rounds' movement a round adds to its own. */
const FACTOR = 0.5

/** What a peer does where the manifest says `momentum`. Memory: the last mean that was handed out, and the velocity. */
const moved: Merge = ({ vectors, initial, memory }) => {
  const [last = initial, before = new Float32Array(initial.length)] = memory
  const [centre, velocity] = [mean(vectors), before.slice()]
  const ahead = nesterov({ factor: FACTOR, velocity }, difference(centre, last))
  const next = centre.map((value, k) => value + ahead[k]!)
  return { vectors: vectors.map(() => next), bytes: centre.byteLength, memory: [next, velocity] }
}

/** Ours. */
export const comigsMomentum: Strategy = {
  ...comigs1G1S,
  name: 'comigs-momentum',
  says: 'comigs-1g1s, the mean moves with momentum',
  merge: moved,
}
