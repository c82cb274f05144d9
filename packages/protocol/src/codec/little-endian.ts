/** Arrays of numbers as little-endian bytes, whatever the machine: copies of memory, and a swap on those that differ. */

const BIG_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 0

export function toBytes(numbers: Float32Array | Uint16Array): Uint8Array {
  return swapped(new Uint8Array(numbers.slice().buffer), numbers.BYTES_PER_ELEMENT)
}

export function toFloats(bytes: Uint8Array): Float32Array {
  return new Float32Array(swapped(new Uint8Array(bytes), 4).buffer)
}

export function toShorts(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(swapped(new Uint8Array(bytes), 2).buffer)
}

/** In place. @param size - bytes of a number, 2 or 4 */
export function swapped<B extends Uint8Array>(bytes: B, size: number, swap = BIG_ENDIAN): B {
  if (!swap) return bytes
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (size === 2) view.swap16()
  else view.swap32()
  return bytes
}
