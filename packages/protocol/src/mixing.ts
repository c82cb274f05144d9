/** Decentralised averaging as pure functions on flat vectors. No network, no clock. */

import { median } from './median.ts'

/**
 * Weight of the edge between two peers: `1 / (1 + max(deg_i, deg_j))` (Metropolis and Hastings; symmetric, so that the
 * swarm's mean stays; 1/N in a full mesh of N).
 */
export function edgeWeight(ownDegree: number, theirDegree: number): number {
  return 1 / (1 + Math.max(ownDegree, theirDegree))
}

/** A copy that has not moved for so many of our rounds counts half as much for each. */
export function ageDiscount(ageRounds: number, freshRounds: number): number {
  return 0.5 ** Math.max(0, ageRounds - freshRounds)
}

/** How far out, in median distances, a neighbour counts in full. Honest peers differ in their text, not tenfold. */
const CLIP_MEDIANS = 2
/** Nor further than so many times our own length, whatever the others say: x in float32 must come back from a lie. */
const REACH = 10

/**
 * Self-centred clipping (He, Karimireddy and Jaggi 2022, arXiv 2202.01545): what a neighbour can move us by is bounded by
 * what its like usually does. The paper's radius needs the variance of honest peers; twice the median distance needs no
 * knowledge, and holds while most neighbours are honest.
 * @param distances - `|y_j - y_i|` of each neighbour
 * @param own - our own length
 * @returns by what factor to shorten each difference: 1, or less for one that is clipped
 */
export function clipFactors(distances: readonly number[], own: number): number[] {
  const radius = Math.min(CLIP_MEDIANS * median(distances), REACH * own)
  return distances.map((distance) => (distance <= radius ? 1 : radius / distance))
}

/** Cosine below which two have learnt against each other. Honest peers of different text share a direction from the first round. */
const OPPOSED = -0.1

/**
 * Whether two have moved against each other since both began at y(0), as who turns the sign of what it learnt does. What we
 * have learnt ourselves is what we can trust (FLTrust, Cao et al. 2021, arXiv 2012.13995), and nothing else tells such a lie
 * from the first round on: its length is that of an honest copy, and what it costs is too little to see.
 * @param a - how far one has come from y(0)
 */
export function isOpposed(a: Float32Array, b: Float32Array): boolean {
  let dot = 0
  for (let k = 0; k < a.length; k++) dot += a[k]! * b[k]!
  return dot < OPPOSED * norm(a) * norm(b)
}

export interface Neighbour {
  readonly copy: Float32Array
  readonly weight: number
}

/**
 * The CHOCO-SGD mixing step (Koloskova et al. 2019, arXiv 1902.00340, algorithm 2; 1907.09356, algorithm 1):
 * `gamma · sum_j w_ij (y_j - y_i)`. It uses public copies only: what compression left out of them stays in `x - y` and
 * goes out with a later delta.
 * @param own - our public copy, y_i
 * @param neighbours - in a fixed order (peer id), so that sums are the same on every run
 * @returns what to add to x_i
 */
export function mixingIncrement(
  own: Float32Array,
  neighbours: readonly Neighbour[],
  gamma: number,
): Float32Array {
  const sum = new Float64Array(own.length)
  for (const { copy, weight } of neighbours) {
    for (let k = 0; k < own.length; k++) sum[k]! += weight * (copy[k]! - own[k]!)
  }
  return scaled(sum, gamma)
}

/** A loop: `Float32Array.from` with a function blocks the network for 150 ms on a million elements, this for 3. */
export function scaled(vector: Float32Array | Float64Array, factor: number): Float32Array {
  const values = new Float32Array(vector.length)
  for (let k = 0; k < values.length; k++) values[k] = factor * vector[k]!
  return values
}

/** Element-wise mean, summed in the given order. */
export function mean(vectors: readonly Float32Array[]): Float32Array {
  const sum = new Float64Array(vectors[0]!.length)
  for (const vector of vectors) for (let k = 0; k < sum.length; k++) sum[k]! += vector[k]!
  return scaled(sum, 1 / vectors.length)
}

/** Element-wise, `a - b`. */
export function difference(a: Float32Array, b: Float32Array): Float32Array {
  const result = new Float32Array(a.length)
  for (let k = 0; k < a.length; k++) result[k] = a[k]! - b[k]!
  return result
}

/** Element-wise, `a + b`. */
export function added(a: Float32Array, b: Float32Array): Float32Array {
  const result = new Float32Array(a.length)
  for (let k = 0; k < a.length; k++) result[k] = a[k]! + b[k]!
  return result
}

/** Euclidean length. */
export function norm(vector: Float32Array): number {
  let sum = 0
  for (let k = 0; k < vector.length; k++) sum += vector[k]! ** 2
  return Math.sqrt(sum)
}

/** Euclidean distance. */
export function distance(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let k = 0; k < a.length; k++) sum += (a[k]! - b[k]!) ** 2
  return Math.sqrt(sum)
}

/**
 * Consensus distance: `|x_i - m| / |m - init|`, m the mean of the followed copies, own included. Disagreement in units of
 * what the swarm has learnt. Undefined while nothing was learnt.
 */
export function consensusDistance(
  x: Float32Array,
  copies: readonly Float32Array[],
  initial: Float32Array,
): number | undefined {
  const centre = mean(copies)
  const learnt = distance(centre, initial)
  return learnt === 0 ? undefined : distance(x, centre) / learnt
}
