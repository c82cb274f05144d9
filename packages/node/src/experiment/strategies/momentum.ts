import { mean } from '@comigs/protocol'
import type { Merge } from '../merge.ts'
import type { Strategy } from '../strategy.ts'
import { comigs1G1S } from './comigs.ts'

/** How much of the last rounds' movement a round adds to its own. */
const MOMENTUM = 0.5

/**
 * Nesterov momentum on the mean (DiLoCo, arXiv 2311.08105, with an outer learning rate of 1): what the mean moved by is
 * the gradient of an outer optimiser. Memory: the last mean that was handed out, and the velocity. Everyone can compute it
 * from what is exchanged anyway.
 */
const nesterov: Merge = ({ vectors, initial, memory }) => {
  const [last = initial, velocity = new Float32Array(initial.length)] = memory
  const centre = mean(vectors)
  const moved = velocity.map((value, k) => MOMENTUM * value + (centre[k]! - last[k]!))
  const next = centre.map((value, k) => value + MOMENTUM * moved[k]!)
  return { vectors: vectors.map(() => next), bytes: centre.byteLength, memory: [next, moved] }
}

/** Ours. */
export const comigsMomentum: Strategy = {
  ...comigs1G1S,
  name: 'comigs-momentum',
  says: 'comigs-1g1s, the mean moves with momentum',
  merge: nesterov,
}
