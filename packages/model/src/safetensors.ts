import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { z } from 'zod'
import { sizeOf } from './engine/graph.ts'
import { ModelError } from './errors.ts'
import { decodeFloat16, encodeFloat16 } from './float16.ts'
import { reasonOf } from './files.ts'
import type { NamedArray } from './parameters.ts'

/** https://huggingface.co/docs/safetensors: 8 bytes of header length, a JSON header, the arrays end to end. */
const LENGTH_BYTES = 8
/** The format's own limit. */
const MAX_HEADER_BYTES = 100_000_000
const ALIGNMENT = 8

const TYPES = {
  F32: { bytes: 4, decode: (b: ArrayBuffer) => new Float32Array(b) },
  F16: { bytes: 2, decode: (b: ArrayBuffer) => decodeFloat16(new Uint16Array(b)) },
  BF16: { bytes: 2, decode: decodeBrain },
} as const
type StoredType = keyof typeof TYPES

const entrySchema = z.object({
  dtype: z.string(),
  shape: z.array(z.number().int().nonnegative()),
  data_offsets: z.tuple([z.number().int().nonnegative(), z.number().int().nonnegative()]),
})

export interface SafetensorsFile {
  readonly metadata: Readonly<Record<string, string>>
  readonly names: readonly string[]
  has(name: string): boolean
  shape(name: string): readonly number[]
  /** Element type as the file names it. */
  dtype(name: string): string
  /** A float32 copy. Throws `TENSOR_MISSING`, `TENSOR_NON_FINITE`, or `SAFETENSORS_INVALID` for a type that is not a float. */
  array(name: string): NamedArray
}

/** Where the bytes are. */
interface Source {
  readonly size: number
  /** A copy of bytes `[from, to)` in a buffer of its own: arrays need alignment. */
  read(from: number, to: number): Uint8Array<ArrayBuffer>
}

/**
 * Reads a safetensors file. Nothing in it is believed before it is checked.
 * @param path - for error messages
 * @throws ModelError `SAFETENSORS_INVALID` saying what is wrong
 */
export function readSafetensors(bytes: Uint8Array, path: string): SafetensorsFile {
  // A Buffer's own slice() would not copy.
  return parse({ size: bytes.byteLength, read: (from, to) => new Uint8Array(bytes.subarray(from, to)) }, path)
}

/**
 * The same from a file on disk, of which only what is asked for is read: a model never has to be in memory as a whole.
 * @throws ModelError `FILE_UNREADABLE`, `SAFETENSORS_INVALID`
 */
export function openSafetensors(path: string): SafetensorsFile {
  return parse(
    {
      get size() {
        return unreadable(path, () => statSync(path).size)
      },
      read: (from, to) => unreadable(path, () => readRange(path, from, to)),
    },
    path,
  )
}

function unreadable<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw new ModelError({ code: 'FILE_UNREADABLE', path, reason: reasonOf(error) }, { cause: error })
  }
}

/** One call reads less than 2 GiB. */
const READ_BYTES = 1 << 30

function readRange(path: string, from: number, to: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(to - from)
  const file = openSync(path, 'r')
  try {
    for (let at = 0; at < bytes.length;) {
      const read = readSync(file, bytes, at, Math.min(READ_BYTES, bytes.length - at), from + at)
      if (read === 0) throw new Error('it became shorter while it was read')
      at += read
    }
  } finally {
    closeSync(file)
  }
  return bytes
}

function parse(source: Source, path: string): SafetensorsFile {
  const invalid = (reason: string, cause?: unknown): ModelError =>
    new ModelError({ code: 'SAFETENSORS_INVALID', path, reason }, { cause })
  const { size } = source
  if (size < LENGTH_BYTES) throw invalid(`it has ${size} bytes, the header needs at least 8`)
  const headerBytes = Number(new DataView(source.read(0, LENGTH_BYTES).buffer).getBigUint64(0, true))
  const start = LENGTH_BYTES + headerBytes
  if (headerBytes > MAX_HEADER_BYTES || start > size)
    throw invalid(`its header claims ${headerBytes} bytes, the file has ${size}`)
  const dataBytes = size - start
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(source.read(LENGTH_BYTES, start)))
  } catch (error) {
    throw invalid('its header is not JSON', error)
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw invalid('its header is not a JSON object')

  let metadata: Record<string, string> = {}
  const entries = new Map<string, z.infer<typeof entrySchema>>()
  for (const [name, value] of Object.entries(parsed)) {
    if (name === '__metadata__') {
      const result = z.record(z.string(), z.string()).safeParse(value)
      if (!result.success) throw invalid('its metadata is not a map of strings')
      metadata = result.data
      continue
    }
    const result = entrySchema.safeParse(value)
    if (!result.success) throw invalid(`the header entry of tensor "${name}" is malformed`)
    const { dtype, shape, data_offsets: offsets } = result.data
    if (offsets[0] > offsets[1] || offsets[1] > dataBytes) {
      throw invalid(`tensor "${name}" ends at byte ${offsets[1]} of ${dataBytes}: the file is truncated`)
    }
    const type = TYPES[dtype as StoredType] as (typeof TYPES)[StoredType] | undefined
    if (type !== undefined && offsets[1] - offsets[0] !== sizeOf(shape) * type.bytes) {
      throw invalid(
        `tensor "${name}" has ${offsets[1] - offsets[0]} bytes, its shape [${shape.join()}] needs ${sizeOf(shape) * type.bytes}`,
      )
    }
    entries.set(name, result.data)
  }

  const entry = (name: string) => {
    const found = entries.get(name)
    if (found === undefined) throw new ModelError({ code: 'TENSOR_MISSING', path, tensor: name })
    return found
  }
  return {
    metadata,
    names: [...entries.keys()],
    has: (name) => entries.has(name),
    shape: (name) => entry(name).shape,
    dtype: (name) => entry(name).dtype,
    array(name) {
      const { dtype, shape, data_offsets: offsets } = entry(name)
      if (!(dtype in TYPES)) {
        throw invalid(`tensor "${name}" is stored as ${dtype}; supported: ${Object.keys(TYPES).join(', ')}`)
      }
      const stored = source.read(start + offsets[0], start + offsets[1])
      const values = TYPES[dtype as StoredType].decode(stored.buffer)
      const index = values.findIndex((value) => !Number.isFinite(value))
      if (index >= 0) throw new ModelError({ code: 'TENSOR_NON_FINITE', path, tensor: name, index })
      return { name, shape, values }
    },
  }
}

/** Encodes arrays in the given order. Deterministic: equal input gives equal bytes. */
export function writeSafetensors(
  arrays: readonly NamedArray[],
  metadata: Readonly<Record<string, string>> = {},
  dtype: WrittenType = 'F32',
): Uint8Array {
  const pieces = [...safetensorsPieces(arrays, arrays, metadata, dtype)]
  const file = new Uint8Array(pieces.reduce((sum, { byteLength }) => sum + byteLength, 0))
  let at = 0
  for (const piece of pieces) {
    file.set(piece, at)
    at += piece.byteLength
  }
  return file
}

type WrittenType = 'F32' | 'F16'

/**
 * The same file piece by piece, so that a model never has to be in memory as a whole.
 * @param declared - of all arrays, in the order in which they come
 */
export function* safetensorsPieces(
  declared: Iterable<Pick<NamedArray, 'name' | 'shape'>>,
  arrays: Iterable<NamedArray>,
  metadata: Readonly<Record<string, string>> = {},
  dtype: WrittenType = 'F32',
): Generator<Uint8Array> {
  const header: Record<string, unknown> = { __metadata__: metadata }
  let offset = 0
  for (const { name, shape } of declared) {
    const end = offset + sizeOf(shape) * TYPES[dtype].bytes
    header[name] = { dtype, shape, data_offsets: [offset, end] }
    offset = end
  }
  const json = new TextEncoder().encode(JSON.stringify(header))
  const headerBytes = Math.ceil(json.byteLength / ALIGNMENT) * ALIGNMENT
  const head = new Uint8Array(LENGTH_BYTES + headerBytes).fill(0x20) // the format pads the header with spaces
  new DataView(head.buffer).setBigUint64(0, BigInt(headerBytes), true)
  head.set(json, LENGTH_BYTES)
  yield head
  for (const { values } of arrays) {
    const stored = dtype === 'F16' ? encodeFloat16(values) : values
    yield new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength)
  }
}

/** bfloat16 is the upper half of a float32. */
function decodeBrain(buffer: ArrayBuffer): Float32Array {
  const stored = new Uint16Array(buffer)
  const bits = new Uint32Array(stored.length)
  for (let i = 0; i < stored.length; i++) bits[i] = stored[i]! << 16
  return new Float32Array(bits.buffer)
}
