/** IEEE 754 binary16. */

const float = new Float32Array(1)
const bits = new Uint32Array(float.buffer)

/** Rounds to the nearest half, ties to even; beyond 65504 to infinity. */
export function toHalf(value: number): number {
  float[0] = value
  const x = bits[0]!
  const sign = (x >>> 16) & 0x8000
  const magnitude = x & 0x7fffffff
  if (magnitude >= 0x47800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00)
  if (magnitude < 0x38800000) {
    // Subnormal: let the float adder round at the last bit that a half has (in 0.5..1 a float's last bit is 2^-24).
    float[0] = Math.abs(value) + 0.5
    return sign | (bits[0]! - 0x3f000000)
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1)
  return sign | ((rounded - 0x38000000) >>> 13)
}

/** All 65,536 halves as floats. */
export const HALVES: Float32Array = Float32Array.from({ length: 0x10000 }, (_, half) => {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >>> 10) & 0x1f
  const fraction = half & 0x3ff
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
})
