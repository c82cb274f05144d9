import type { CodecChoice } from './codec.ts'

/**
 * The step size of CHOCO-SGD's mixing that is safe with a codec: how much of what the copies say is believed, given how
 * far copies lag behind when only part of a delta fits into a payload.
 *
 * Measured (`node bench/codec/gamma.mjs`): a full mesh of 4, 8 and 15 peers, vectors of 500 that are normal or heavy-tailed
 * (the cube of it), agreeing on a mean and noisy SGD towards targets of their own; squared distance from the mean after 200
 * rounds, the worst of 12 cases, int8 (int4 is alike):
 *
 * | share | 0.7  | 0.5  | 0.35 | 0.25 | 0.18  | 0.12  | 0.08  | 0.05  | 0.03 | 0.015 |
 * | ----- | ---- | ---- | ---- | ---- | ----- | ----- | ----- | ----- | ---- | ----- |
 * | 0.5   | 2e-9 | 1e-8 | 6e-8 | 2e-7 | 8e-7  | 8e-6  | 1e-4  | 3e-3  | 0.03 | 0.16  |
 * | 0.2   | 41   | 0.05 | 5e-8 | 2e-7 | 7e-7  | 7e-6  | 1e-4  | 3e-3  | 0.03 | 0.16  |
 * | 0.1   | ∞    | 7e3  | 4    | 8e-4 | 7e-7  | 5e-6  | 1e-4  | 2e-3  | 0.02 | 0.15  |
 * | 0.05  | ∞    | 1e5  | 35   | 0.5  | 0.03  | 3e-4  | 1e-4  | 2e-3  | 0.02 | 0.15  |
 * | 0.01  | ∞    | 5e5  | 577  | 16   | 1     | 0.3   | 0.16  | 0.12  | 0.04 | 0.13  |
 *
 * The best of each row lies near 1.75 times the share, and twice that diverges or is worse. Dense codecs, int4 among them,
 * are best at 1: what they leave out is small and unbiased.
 */
export function safeGamma({ topK: share }: CodecChoice): number {
  return share === undefined ? 1 : Math.min(1, PER_SHARE * share)
}

const PER_SHARE = 1.75
