export interface Momentum {
  readonly factor: number
  /** Of the rounds before, zeros in the first; changed in place. */
  readonly velocity: Float32Array
}

/**
 * Nesterov momentum between rounds: what a round moved the shared vector x by, own training and mixing together, is the
 * gradient of an outer optimiser (DiLoCo, Douillard et al. 2023, arXiv 2311.08105, with an outer learning rate of 1):
 * `velocity ← factor · velocity + moved`, then `x ← x + factor · velocity`. Peers that agree move alike, with nothing said
 * about it. Where they do not, and mix with a share g ≤ 1 of the difference, it still brings them together: the distance and
 * the velocity shrink together, in the long run by the root of `factor · (1 - g)` a round. Averaging with other cells does not
 * belong to `moved`: two exchanges a round may make two cells change places (g = 2), and from g = 1 + 1 / (1 + 2 · factor) on
 * they would overshoot ever further. The swarm's mean velocity is the same without it: averaging leaves the sum as it is.
 * @param moved - by this round's training and mixing
 * @returns what to add to x
 */
export function nesterov({ factor, velocity }: Momentum, moved: Float32Array): Float32Array {
  const ahead = new Float32Array(moved.length)
  for (let k = 0; k < moved.length; k++) {
    velocity[k] = factor * velocity[k]! + moved[k]!
    ahead[k] = factor * velocity[k]!
  }
  return ahead
}
