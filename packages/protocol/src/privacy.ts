import type { Manifest } from './manifest.ts'
import { distance } from './mixing.ts'
import type { Random } from './wire.ts'

export type Privacy = NonNullable<Manifest['privacy']>

/** The chance with which the promise may fail: far less than one in the number of peers of any federation. */
export const PRIVACY_DELTA = 1e-5

/**
 * The Gaussian mechanism on one round's update of the shared vector (Dwork and Roth 2014, appendix A; as in McMahan et al.
 * 2018, arXiv 1710.06963, but at the peer itself): `start + clip(trained - start) + N(0, (noise · clip)^2)`. It is applied
 * before anything else sees the update, so that codec, mixing and averaging are post-processing. What is protected is a
 * peer's whole contribution of the round: its update against none at all.
 *
 * Noise is drawn in double precision and rounded to float32; attacks on the last bits of floating-point noise (Mironov 2012)
 * are not defended against.
 * @param random - uniform in [0, 1), not to be guessed by anyone
 */
export function privatised(
  start: Float32Array,
  trained: Float32Array,
  { clip, noise }: Privacy,
  random: Random,
): Float32Array {
  const norm = distance(trained, start)
  // An update that is not finite is none: it must not pass through the clip.
  const factor = Number.isFinite(norm) ? Math.min(1, clip / norm) : 0
  const gaussian = normals(random)
  return start.map((value, k) => {
    const update = factor === 0 ? 0 : factor * (trained[k]! - value)
    return value + update + noise * clip * gaussian()
  })
}

/** Box and Muller 1958, both of each pair. */
function normals(random: Random): () => number {
  let spare: number | undefined
  return () => {
    if (spare !== undefined) {
      const value = spare
      spare = undefined
      return value
    }
    const radius = Math.sqrt(-2 * Math.log(1 - random()))
    const angle = 2 * Math.PI * random()
    spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }
}

/**
 * Epsilon after so many rounds, at delta. Rényi differential privacy of the Gaussian mechanism adds up over rounds,
 * `releases · α / (2 noise²)` (Mironov 2017, arXiv 1702.07476), whatever is learnt in between decides about the next; turned into
 * (epsilon, delta) by proposition 12 of Canonne, Kamath and Steinke 2020 (arXiv 2004.00010) at the best order α. No
 * amplification by subsampling is claimed: a peer takes part in every round.
 */
export function epsilonSpent(releases: number, noise: number, delta = PRIVACY_DELTA): number {
  if (releases === 0) return 0
  const at = (order: number) =>
    (releases * order) / (2 * noise ** 2) +
    Math.log((order - 1) / order) -
    (Math.log(delta) + Math.log(order)) / (order - 1)
  // One minimum: close in on it in the logarithm of α - 1.
  let [low, high] = [Math.log(1e-6), Math.log(1e9)]
  for (let i = 0; i < 200; i++) {
    const [a, b] = [low + (high - low) / 3, high - (high - low) / 3]
    if (at(1 + Math.exp(a)) < at(1 + Math.exp(b))) high = b
    else low = a
  }
  return Math.max(0, at(1 + Math.exp(low)))
}
