export interface Momentum {
  readonly factor: number
  /** Of the rounds before, zeros in the first; changed in place. */
  readonly velocity: Float32Array
}

/**
 * Nesterov momentum between rounds: what a round moved the shared vector x by, own training and mixing together, is the
 * gradient of an outer optimiser (DiLoCo, Douillard et al. 2023, arXiv 2311.08105, with an outer learning rate of 1):
 * `velocity ← factor · velocity + moved`, then `x ← x + factor · velocity`. Peers that agree move alike, with nothing said
 * about it. Where they do not, and mix with a share g of the difference, it still brings them together: the distance and the
 * velocity shrink together, in the long run by the root of `factor · (1 - g)` a round.
 * @param moved - by this round, after mixing
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
