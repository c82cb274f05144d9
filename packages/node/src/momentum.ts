export interface Momentum {
  readonly factor: number
  /** Of the rounds before, zeros in the first; changed in place. */
  readonly velocity: Float32Array
}

/**
 * Nesterov momentum between rounds: what a round's training moved the shared vector x by is the gradient of an outer optimiser
 * (DiLoCo, Douillard et al. 2023, arXiv 2311.08105, with an outer learning rate of 1): `velocity ← factor · velocity + moved`,
 * then `x ← x + factor · velocity`. All of it is linear, and neither mixing nor averaging changes the mean of a swarm: the mean
 * moves as DiLoCo's does, though every peer follows its own steps alone. What others moved x by is not counted: who is
 * late would be overshot (docs/decisions/013-momentum.md).
 * @param moved - by this round's training
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
