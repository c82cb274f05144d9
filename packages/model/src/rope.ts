import type { RopeConfig } from './config.ts'

/**
 * Angular frequency of each pair of channels of a head, `[D / 2]`: theta^(-2i/D) (Su et al., arXiv 2104.09864), slowed
 * down where the base was stretched to longer sequences.
 */
export function ropeFrequencies({ theta, scaling }: RopeConfig, headWidth: number): number[] {
  const pairs = Array.from({ length: headWidth / 2 }, (_, i) => theta ** ((-2 * i) / headWidth))
  if (scaling === undefined) return pairs
  if (scaling.kind === 'linear') return pairs.map((frequency) => frequency / scaling.factor)
  // Llama 3.1: slow waves are stretched, fast ones stay, those between are blended.
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, positions } = scaling
  return pairs.map((frequency) => {
    const turns = (positions * frequency) / (2 * Math.PI)
    const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)))
    return frequency * (kept + (1 - kept) / factor)
  })
}

/** Cosines and sines of `position * frequency`, `[positions, D / 2]` each. */
export function ropeTables(
  rope: RopeConfig,
  headWidth: number,
  positions: number,
): { readonly cos: Float32Array; readonly sin: Float32Array } {
  const frequencies = ropeFrequencies(rope, headWidth)
  const angles = Array.from({ length: positions }, (_, position) =>
    frequencies.map((frequency) => position * frequency),
  ).flat()
  return { cos: Float32Array.from(angles, Math.cos), sin: Float32Array.from(angles, Math.sin) }
}
