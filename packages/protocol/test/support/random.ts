import type { Random } from '../../src/wire.ts'

/** Mulberry32: small, fast, good enough to test with. */
export function seeded(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000
  }
}

/** Uniform in [-scale, scale). */
export function randomVector(length: number, seed: number, scale = 1): Float32Array {
  const random = seeded(seed)
  return Float32Array.from({ length }, () => scale * (2 * random() - 1))
}

export function randomBytes(length: number, random: Random): Uint8Array {
  return Uint8Array.from({ length }, () => Math.floor(256 * random()))
}
