import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** A source of 32-bit integers. */
export interface RandomStream {
  /** Uniform over all 32-bit signed integers. */
  int32(): number
  /** Uniform in [0, 1), a multiple of 2^-24: the same float32 on every machine. */
  float(): number
  /** Uniform in 0..n-1. */
  below(n: number): number
}

/**
 * An independent stream for each purpose: xoroshiro128+ (Blackman and Vigna 2018) seeded with the FNV-1a hash of seed,
 * name and counter. Streams hold no state worth saving: batch k of a run is stream(seed, 'train', k) whenever it is asked
 * for, which is what makes a resume exact.
 */
export function stream(seed: number, name: string, counter = 0): RandomStream {
  const generator = xoroshiro128plus(fnv1a(`${seed}/${name}/${counter}`))
  // The first outputs of close seeds resemble each other.
  for (let i = 0; i < 32; i++) generator.next()
  const int32 = () => generator.next()
  const float = () => (int32() >>> 8) / 0x1000000
  return {
    int32,
    float,
    below: (n) => Math.floor((n <= 0x1000000 ? float() : (int32() >>> 0) / 0x100000000) * n),
  }
}

export function fillUniform(values: Float32Array, bound: number, random: RandomStream): void {
  for (let i = 0; i < values.length; i++) values[i] = bound * (2 * random.float() - 1)
}

/** Box and Muller 1958. */
export function fillNormal(values: Float32Array, deviation: number, random: RandomStream): void {
  for (let i = 0; i < values.length; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - random.float()))
    values[i] = deviation * radius * Math.cos(2 * Math.PI * random.float())
  }
}

/** 32-bit FNV-1a over UTF-16 code units' low and high bytes. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    hash = Math.imul(hash ^ (code & 0xff), 0x01000193)
    hash = Math.imul(hash ^ (code >>> 8), 0x01000193)
  }
  return hash | 0
}
