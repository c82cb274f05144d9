import type { Random } from '@comigs/protocol'
import { randomFillSync } from 'node:crypto'

const WORDS = 1 << 14

/** Uniform in [0, 1), 53 bits, from the system's generator: nobody can guess it, and no seed repeats it. */
export function secureRandom(): Random {
  const words = new Uint32Array(WORDS)
  let next = WORDS
  return () => {
    if (next === WORDS) {
      randomFillSync(words)
      next = 0
    }
    const high = words[next++]! >>> 5
    const low = words[next++]! >>> 6
    return (high * 2 ** 26 + low) / 2 ** 53
  }
}
