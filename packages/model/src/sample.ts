import type { RandomStream } from './random.ts'

export interface SampleOptions {
  /** Divides the logits. 0 takes the likeliest token every time. */
  readonly temperature: number
  /** Draw from this many of the likeliest tokens. @default all */
  readonly topK?: number | undefined
  /** Draw from the fewest likeliest tokens that have this share of the probability (after `topK`). @default 1 */
  readonly topP?: number | undefined
}

/**
 * Draws from softmax(logits / temperature), cut to the `topK` likeliest tokens and then to the nucleus of `topP` (Holtzman
 * et al., arXiv 1904.09751). Equal logits go by the lower index.
 */
export function sample(logits: Float32Array, options: SampleOptions, random: RandomStream): number {
  const { temperature, topK = Infinity, topP = 1 } = options
  const best = argmax(logits)
  if (temperature === 0) return best
  const weights = logits.map((logit) => Math.exp((logit - logits[best]!) / temperature))
  if (topK >= weights.length && topP >= 1) return draw([...weights.keys()], weights, random) ?? best
  return draw(likeliest(weights, topK, topP), weights, random) ?? best
}

/** The first of the largest. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i
  return best
}

/** Undefined when rounding leaves nothing. */
function draw(
  candidates: readonly number[],
  weights: Float32Array,
  random: RandomStream,
): number | undefined {
  let left = random.float() * candidates.reduce((sum, i) => sum + weights[i]!, 0)
  for (const i of candidates) {
    left -= weights[i]!
    if (left < 0) return i
  }
  return undefined
}

/** Those that `topK` and `topP` leave, likeliest first. */
function likeliest(weights: Float32Array, topK: number, topP: number): number[] {
  // A comparison sort of a whole vocabulary costs more than a token of a small model: most of it is cut off first. What
  // weighs less than an even share of the tail is in the tail, since all of it together cannot weigh as much as the tail.
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const tail = (Math.max(0, 1 - topP) * total) / weights.length
  const kth = topK < weights.length ? weights.slice().sort()[weights.length - topK]! : 0
  const floor = topK < weights.length ? kth : tail
  const order = [...weights.keys()]
    .filter((i) => weights[i]! >= floor)
    .sort((a, b) => weights[b]! - weights[a]! || a - b)
    .slice(0, topK)
  let left = topP * order.reduce((sum, i) => sum + weights[i]!, 0)
  const nucleus = order.findIndex((i) => (left -= weights[i]!) <= 0)
  return nucleus === -1 ? order : order.slice(0, nucleus + 1)
}
