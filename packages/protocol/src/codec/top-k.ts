import { type Codec, malformed, requireLength } from './payload.ts'

/**
 * Only the `k = ceil(share · count)` values of largest magnitude, at least one; the others stay what they are and go out
 * when they have grown (error feedback). Of equals, those that come first. Indices are written down as in Elias 1974 and
 * Fano 1971, in ascending order, at 2 + log2(1 / share) bits each, within half a bit of the least possible:
 * - with `b = floor(log2(count / k))`: `ceil((k + floor((count - 1) / 2^b)) / 8)` bytes, in which bit
 *   `floor(index_i / 2^b) + i` is set for i = 0..k-1 and no other;
 * - `ceil(k · b / 8)` bytes: the low b bits of each index, one after the other;
 * - the k values as `values` writes down a vector of k.
 *
 * Bits count from the least significant of the first byte. Bits that are left over are 0.
 * @param share - of all values, above 0 and at most 1
 */
export function topK(share: number, values: Codec): Codec {
  const layout = (count: number) => {
    const k = count === 0 ? 0 : Math.max(1, Math.ceil(share * count))
    const lowBits = k === 0 ? 0 : 31 - Math.clz32(Math.floor(count / k))
    const highBytes = k === 0 ? 0 : Math.ceil((k + Math.floor((count - 1) / 2 ** lowBits)) / 8)
    const lowBytes = Math.ceil((k * lowBits) / 8)
    return { k, lowBits, highBytes, indexBytes: highBytes + lowBytes }
  }
  const codec: Codec = {
    name: `top ${share} ${values.name}`,
    byteLength(count) {
      const { k, indexBytes } = layout(count)
      return indexBytes + values.byteLength(k)
    },
    encode(vector, random) {
      const { k, lowBits, highBytes, indexBytes } = layout(vector.length)
      const indices = largest(vector, k)
      const bytes = new Uint8Array(indexBytes + values.byteLength(k))
      packIndices(indices, lowBits, bytes.subarray(0, highBytes), bytes.subarray(highBytes, indexBytes))
      bytes.set(
        values.encode(
          Float32Array.from(indices, (index) => vector[index]!),
          random,
        ),
        indexBytes,
      )
      return bytes
    },
    decode(bytes, count) {
      requireLength(codec, bytes, count)
      const { k, lowBits, highBytes, indexBytes } = layout(count)
      const indices = unpackIndices(
        k,
        lowBits,
        bytes.subarray(0, highBytes),
        bytes.subarray(highBytes, indexBytes),
      )
      for (let i = 0; i < k; i++) {
        if (indices[i]! >= count) throw malformed(codec, `index ${indices[i]!} of ${count}`)
        if (i > 0 && indices[i]! <= indices[i - 1]!) throw malformed(codec, 'the indices do not ascend')
      }
      const kept = values.decode(bytes.subarray(indexBytes), k)
      const vector = new Float32Array(count)
      for (let i = 0; i < k; i++) vector[indices[i]!] = kept[i]!
      return vector
    },
  }

  const unpackIndices = (k: number, lowBits: number, high: Uint8Array, low: Uint8Array): Uint32Array => {
    const indices = new Uint32Array(k)
    let found = 0
    for (let byte = 0; byte < high.length; byte++) {
      for (let rest = high[byte]!; rest !== 0; rest &= rest - 1) {
        if (found === k) throw malformed(codec, `more than ${k} indices`)
        const bit = 8 * byte + 31 - Math.clz32(rest & -rest)
        indices[found] = (bit - found) * 2 ** lowBits
        found++
      }
    }
    if (found < k) throw malformed(codec, `${found} indices, expected ${k}`)
    const mask = 2 ** lowBits - 1
    let pending = 0
    let bits = 0
    let at = 0
    for (let i = 0; i < k; i++) {
      for (; bits < lowBits; bits += 8) pending |= low[at++]! << bits
      indices[i]! += pending & mask
      pending >>>= lowBits
      bits -= lowBits
    }
    if (pending !== 0) throw malformed(codec, 'bits that are left over are not 0')
    return indices
  }
  return codec
}

/** The manifest's smallest share, 0.001, makes 9 low bits: with 7 pending ones they fit into an integer. */
function packIndices(indices: Uint32Array, lowBits: number, high: Uint8Array, low: Uint8Array): void {
  const mask = 2 ** lowBits - 1
  let pending = 0
  let bits = 0
  let at = 0
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i]!
    const bit = (index >>> lowBits) + i
    high[bit >>> 3]! |= 1 << (bit & 7)
    pending |= (index & mask) << bits
    for (bits += lowBits; bits >= 8; bits -= 8) {
      low[at++] = pending & 0xff
      pending >>>= 8
    }
  }
  if (bits > 0) low[at] = pending
}

/** The 31 bits of a magnitude, in digits: few enough bins for the cache, few enough passes. */
const DIGITS = [11, 10, 10]

/**
 * Where the k values of largest magnitude stand, in ascending order. A radix selection: floats without their sign are in
 * the order of their bits, so that counting digit by digit finds the k-th exactly.
 */
export function largest(values: Float32Array, k: number): Uint32Array {
  const chosen = new Uint32Array(k)
  if (k === 0) return chosen
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  let threshold = 0
  let shift = 31
  /** How many to choose of those whose first digits are the threshold's. */
  let ties = k
  for (const digit of DIGITS) {
    const counts = new Uint32Array(2 ** digit)
    const known = shift
    shift -= digit
    for (let i = 0; i < bits.length; i++) {
      const magnitude = bits[i]! & 0x7fffffff
      if (magnitude >>> known === threshold) counts[(magnitude >>> shift) & (counts.length - 1)]!++
    }
    let bin = counts.length - 1
    while (counts[bin]! < ties) ties -= counts[bin--]!
    threshold = threshold * counts.length + bin
  }
  for (let i = 0, at = 0; at < k; i++) {
    const magnitude = bits[i]! & 0x7fffffff
    if (magnitude > threshold || (magnitude === threshold && ties-- > 0)) chosen[at++] = i
  }
  return chosen
}
