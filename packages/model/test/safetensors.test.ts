import { describe, expect, it } from 'vitest'
import { ModelError } from '../src/errors.ts'
import { readSafetensors, writeSafetensors } from '../src/safetensors.ts'
import { normal } from './helpers/arrays.ts'
import { expectSame } from './helpers/compare.ts'
import { fc } from './helpers/properties.ts'
import { refusal } from './helpers/refusals.ts'

const ARRAYS = [
  { name: 'b', shape: [2, 3], values: normal('b', [2, 3]).values },
  { name: 'a/ü "quoted"', shape: [1], values: Float32Array.of(-0) },
  { name: 'none', shape: [0, 4], values: new Float32Array(0) },
  { name: 'scalar', shape: [], values: Float32Array.of(1.5) },
]

type Entry = Record<string, unknown>

/** A file made by hand. */
function fileOf(
  header: string | Record<string, Entry>,
  data: Uint8Array = new Uint8Array(8),
  claimed?: bigint,
): Uint8Array {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(claimed ?? BigInt(json.length))
  return Buffer.concat([length, json, data])
}

const entry = (changes: Entry = {}): Record<string, Entry> => ({
  x: { dtype: 'F32', shape: [2], data_offsets: [0, 8], ...changes },
})

describe('safetensors', () => {
  it('come back as they were written', () => {
    const file = readSafetensors(writeSafetensors(ARRAYS, { note: 'ä', empty: '' }), 'x')
    expect(file.names).toEqual(ARRAYS.map(({ name }) => name))
    expect(file.metadata).toEqual({ note: 'ä', empty: '' })
    for (const { name, shape, values } of ARRAYS) {
      expect(file.has(name)).toBe(true)
      expect(file.shape(name)).toEqual(shape)
      const read = file.array(name)
      expect({ name: read.name, shape: read.shape }).toEqual({ name, shape })
      expectSame(read.values, values, name)
    }
  })

  it('are the same bytes each time, data aligned to eight', () => {
    const bytes = writeSafetensors(ARRAYS, { note: 'x' })
    expect(writeSafetensors(ARRAYS, { note: 'x' })).toEqual(bytes)
    expect(new DataView(bytes.buffer).getBigUint64(0, true) % 8n).toBe(0n)
  })

  it('come back when they lie inside a larger buffer', () => {
    const bytes = writeSafetensors(ARRAYS)
    for (const shift of [1, 2, 3]) {
      const larger = new Uint8Array(bytes.length + 7).fill(0xaa)
      larger.set(bytes, shift)
      const file = readSafetensors(larger.subarray(shift, shift + bytes.length), 'x')
      for (const { name, values } of ARRAYS) expectSame(file.array(name).values, values, name)
    }
  })

  it('give copies', () => {
    const bytes = writeSafetensors(ARRAYS)
    const { values } = readSafetensors(bytes, 'x').array('b')
    const kept = values.slice()
    bytes.fill(0)
    expectSame(values, kept)
  })

  it('round to half precision when asked to', () => {
    const values = Float32Array.of(0, -0, 1, 0.1, -65504, 2 ** -24, 1 / 3)
    const bytes = writeSafetensors([{ name: 'x', shape: [7], values }], {}, 'F16')
    const { values: read } = readSafetensors(bytes, 'x').array('x')
    const third = 0.333251953125
    expectSame(read, Float32Array.of(0, -0, 1, 0.0999755859375, -65504, 2 ** -24, third))
  })

  // 1, -2, 2^-24 (the smallest), 65504 (the largest), 0.333...
  it('read half precision', () => {
    const bits = new Uint8Array(Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7bff, 0x3555).buffer)
    const file = fileOf(entry({ dtype: 'F16', shape: [5], data_offsets: [0, 10] }), bits)
    expectSame(
      readSafetensors(file, 'x').array('x').values,
      Float32Array.of(1, -2, 2 ** -24, 65504, 0.333251953125),
    )
  })

  it('read bfloat16', () => {
    const bits = new Uint8Array(Uint16Array.of(0x3f80, 0xc000, 0x3eab, 0x7f7f, 0x8000).buffer)
    const file = fileOf(entry({ dtype: 'BF16', shape: [5], data_offsets: [0, 10] }), bits)
    const expected = Float32Array.of(1, -2, 0.333984375, 3.3895313892515355e38, -0)
    expectSame(readSafetensors(file, 'x').array('x').values, expected)
  })

  it('may hold what we cannot use, as long as nobody asks for it', () => {
    const file = readSafetensors(fileOf(entry({ dtype: 'I64', shape: [1] })), 'x')
    expect(file.shape('x')).toEqual([1])
  })

  const huge = 2 ** 53 - 1
  it.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array(0)],
    ['seven bytes', new Uint8Array(7)],
    ['a header that is longer than the file', fileOf(entry(), undefined, 1000n)],
    ['a header of all the bytes there are', fileOf(entry(), undefined, 2n ** 64n - 1n)],
    ['a header of 2^32 bytes', fileOf(entry(), undefined, 2n ** 32n)],
    ['an empty header', fileOf('')],
    ['a header that is no JSON', fileOf('{"x":')],
    ['a header that is no UTF-8', fileOf(Buffer.of(0x22, 0xff, 0x22).toString('latin1'))],
    ['a header that is a list', fileOf('[]')],
    ['a header that is null', fileOf('null')],
    ['a header that is a string', fileOf('"x"')],
    ['metadata that are no strings', fileOf('{"__metadata__": {"a": 1}}')],
    ['metadata that are a list', fileOf('{"__metadata__": []}')],
    ['an entry that is a number', fileOf('{"x": 1}')],
    ['an entry without a type', fileOf('{"x": {"shape": [2], "data_offsets": [0, 8]}}')],
    ['an entry without a shape', fileOf('{"x": {"dtype": "F32", "data_offsets": [0, 8]}}')],
    ['an entry without offsets', fileOf('{"x": {"dtype": "F32", "shape": [2]}}')],
    ['a negative dimension', fileOf(entry({ shape: [-2] }))],
    ['a fractional dimension', fileOf(entry({ shape: [0.5, 4] }))],
    ['a shape that is no list', fileOf(entry({ shape: 2 }))],
    ['a shape beyond all bounds', fileOf(entry({ shape: [huge, huge] }))],
    [
      'a shape beyond all bounds with a zero in it',
      fileOf(entry({ shape: new Array<number>(40).fill(huge).concat(0) })),
    ],
    ['one offset', fileOf(entry({ data_offsets: [0] }))],
    ['three offsets', fileOf(entry({ data_offsets: [0, 8, 8] }))],
    ['a negative offset', fileOf(entry({ data_offsets: [-8, 0] }))],
    ['offsets in the wrong order', fileOf(entry({ data_offsets: [8, 0] }))],
    ['offsets beyond the end', fileOf(entry({ data_offsets: [4, 12] }))],
    ['fewer bytes than the shape needs', fileOf(entry({ data_offsets: [0, 4] }))],
    ['more bytes than the shape needs', fileOf(entry({ shape: [1] }))],
    ['the bytes of another type', fileOf(entry({ dtype: 'F16' }))],
    ["a type named as a method of JavaScript's", fileOf(entry({ dtype: 'toString' }))],
  ])('are refused with %s', async (_, bytes) => {
    expect(await refusal(() => readSafetensors(bytes, 'file'))).toMatchObject({
      code: 'SAFETENSORS_INVALID',
      path: 'file',
    })
  })

  it('are refused with the length that a header claims to have', async () => {
    const bytes = fileOf(entry(), undefined, 1000n)
    const detail = await refusal(() => readSafetensors(bytes, 'file'))
    expect(detail).toHaveProperty('reason', `its header claims 1000 bytes, the file has ${bytes.length}`)
  })

  it.each<[string, Uint8Array, string, object]>([
    ['a tensor that is not there', fileOf(entry()), 'y', { code: 'TENSOR_MISSING', tensor: 'y' }],
    [
      'a tensor named as a method',
      fileOf(entry()),
      'toString',
      { code: 'TENSOR_MISSING', tensor: 'toString' },
    ],
    ['integers', fileOf(entry({ dtype: 'I32' })), 'x', { code: 'SAFETENSORS_INVALID' }],
    ['double precision', fileOf(entry({ dtype: 'F64', shape: [1] })), 'x', { code: 'SAFETENSORS_INVALID' }],
    [
      'a NaN',
      fileOf(entry(), new Uint8Array(Float32Array.of(1, NaN).buffer)),
      'x',
      { code: 'TENSOR_NON_FINITE', path: 'file', tensor: 'x', index: 1 },
    ],
    [
      'an infinity',
      fileOf(entry(), new Uint8Array(Float32Array.of(-Infinity, 0).buffer)),
      'x',
      { code: 'TENSOR_NON_FINITE', index: 0 },
    ],
    [
      'an infinity in half precision',
      fileOf(entry({ dtype: 'F16', data_offsets: [0, 4] }), new Uint8Array(Uint16Array.of(0, 0x7c00).buffer)),
      'x',
      { code: 'TENSOR_NON_FINITE', index: 1 },
    ],
    [
      'a NaN in bfloat16',
      fileOf(
        entry({ dtype: 'BF16', data_offsets: [0, 4] }),
        new Uint8Array(Uint16Array.of(0, 0x7fc0).buffer),
      ),
      'x',
      { code: 'TENSOR_NON_FINITE', index: 1 },
    ],
  ])('give no array for %s', async (_, bytes, name, expected) => {
    const file = readSafetensors(bytes, 'file')
    expect(await refusal(() => file.array(name))).toMatchObject(expected)
  })

  /** Reads all there is; anything but a ModelError gets out. */
  function readAll(bytes: Uint8Array): boolean {
    try {
      const file = readSafetensors(bytes, 'x')
      for (const name of file.names) file.array(name)
      return true
    } catch (error) {
      if (error instanceof ModelError) return false
      throw error
    }
  }

  it('never fail otherwise, whatever the bytes', () => {
    const header = fc.oneof(
      fc.uint8Array({ maxLength: 60 }).map((bytes) => fileOf(Buffer.from(bytes).toString('latin1'))),
      fc.json().map((json) => fileOf(json)),
      fc
        .dictionary(
          fc.string({ maxLength: 8 }),
          fc.record({
            dtype: fc.constantFrom('F32', 'F16', 'BF16', 'I8', '__proto__', 'constructor'),
            shape: fc.array(fc.oneof(fc.nat(4), fc.constantFrom(-1, 2 ** 53, 0.5))),
            data_offsets: fc.array(fc.oneof(fc.nat(8), fc.constantFrom(-1, 2 ** 53)), {
              minLength: 1,
              maxLength: 3,
            }),
          }),
        )
        .map((entries) => fileOf(entries)),
      fc.uint8Array({ maxLength: 60 }),
    )
    fc.assert(
      fc.property(header, (bytes) => {
        readAll(bytes)
      }),
      { numRuns: 500 },
    )
  })

  it('never fail otherwise, whichever bit flips', () => {
    const bytes = writeSafetensors(ARRAYS, { note: 'x' })
    let refused = 0
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const flipped = bytes.slice()
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      refused += Number(!readAll(flipped))
    }
    expect(readAll(bytes)).toBe(true)
    expect(refused).toBeGreaterThan(100)
  })

  it('are refused wherever they are cut off', () => {
    const bytes = writeSafetensors(ARRAYS, { note: 'x' })
    for (let length = 0; length < bytes.length; length++)
      expect(readAll(bytes.slice(0, length)), `${length}`).toBe(false)
  })
})
