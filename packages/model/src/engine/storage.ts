import { decodeFloat16, encodeFloat16 } from '../float16.ts'

/**
 * How an engine may keep a frozen matrix. What it stands for stays float32: steps are written as if it were, and only
 * the kernels that read frozen matrices (onnx/named-kernels.ts) know the difference.
 */
export type Storage =
  | { readonly type: 'float16' }
  | {
      readonly type: 'int8'
      /** Axis of the matrix of which each line has a scale: that of a linear layer's outputs. */
      readonly axis: 0 | 1
    }

/** A matrix in few bytes. */
export type Stored =
  | { readonly type: 'float16'; readonly data: Uint16Array }
  | { readonly type: 'int8'; readonly axis: 0 | 1; readonly data: Int8Array; readonly scale: Float32Array }

/** Steps on either side of zero. -128 has no opposite and is not used. */
const INT8_STEPS = 127

/**
 * @param columns - of the matrix
 * @returns undefined where a value is too large for float16
 */
export function store(values: Float32Array, columns: number, storage: Storage): Stored | undefined {
  if (storage.type === 'float16') {
    const data = encodeFloat16(values)
    return data.includes(0x7c00) || data.includes(0xfc00) ? undefined : { type: 'float16', data } // ±infinity
  }
  const { axis } = storage
  const rows = values.length / columns
  const scale = new Float32Array(axis === 0 ? rows : columns)
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, i++) {
      const line = axis === 0 ? row : column
      scale[line] = Math.max(scale[line]!, Math.abs(values[i]!) / INT8_STEPS)
    }
  }
  const data = new Int8Array(values.length)
  for (let row = 0, i = 0; row < rows; row++) {
    // A line of zeros has scale 0, and 0/0 becomes the integer 0.
    for (let column = 0; column < columns; column++, i++)
      data[i] = Math.round(values[i]! / scale[axis === 0 ? row : column]!)
  }
  return { type: 'int8', axis, data, scale }
}

/** The numbers that a stored matrix stands for. */
export function restore(stored: Stored, columns: number): Float32Array {
  if (stored.type === 'float16') return decodeFloat16(stored.data)
  const { axis, data, scale } = stored
  const values = new Float32Array(data.length)
  for (let row = 0, i = 0; i < values.length; row++) {
    for (let column = 0; column < columns; column++, i++)
      values[i] = data[i]! * scale[axis === 0 ? row : column]!
  }
  return values
}
