import { describe, expect, it } from 'vitest'
import { swapped, toBytes, toFloats, toShorts } from '../../src/codec/little-endian.ts'

describe('numbers as bytes', () => {
  it('are little-endian', () => {
    expect(toBytes(Float32Array.of(1))).toEqual(Uint8Array.of(0, 0, 0x80, 0x3f))
    expect(toBytes(Uint16Array.of(0x1234, 5))).toEqual(Uint8Array.of(0x34, 0x12, 5, 0))
    expect(toFloats(Uint8Array.of(0, 0, 0x80, 0x3f))).toEqual(Float32Array.of(1))
    expect(toShorts(Uint8Array.of(0x34, 0x12))).toEqual(Uint16Array.of(0x1234))
  })

  it('are copies: of a part of an array, and of a Buffer, whose slices share memory', () => {
    const numbers = Float32Array.of(7, 1, 2)
    const bytes = toBytes(numbers.subarray(1))
    expect(bytes).toHaveLength(8)
    numbers[1] = 9
    expect(toFloats(bytes)).toEqual(Float32Array.of(1, 2))
    const buffer = Buffer.from(bytes)
    const floats = toFloats(buffer)
    buffer.fill(0)
    expect(floats).toEqual(Float32Array.of(1, 2))
  })

  it('are turned on a machine that is the other way round', () => {
    expect(swapped(Uint8Array.of(1, 2, 3, 4), 4, true)).toEqual(Uint8Array.of(4, 3, 2, 1))
    expect(swapped(Uint8Array.of(1, 2, 3, 4), 2, true)).toEqual(Uint8Array.of(2, 1, 4, 3))
    expect(swapped(Uint8Array.of(0, 1, 2, 3, 4).subarray(1), 4, true)).toEqual(Uint8Array.of(4, 3, 2, 1))
  })
})
