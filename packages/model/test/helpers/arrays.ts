import type { HostTensor } from '../../src/engine/engine.ts'
import { sizeOf } from '../../src/engine/graph.ts'
import { fillNormal, stream } from '../../src/random.ts'

/** Normally distributed numbers; another name gives others. */
export function normal(name: string, shape: readonly number[], deviation = 1): HostTensor & FloatValues {
  const values = new Float32Array(sizeOf(shape))
  fillNormal(values, deviation, stream(2024, name))
  return { shape, dtype: 'float32', values }
}

interface FloatValues {
  readonly values: Float32Array
}

export const floats = (shape: readonly number[], values: Iterable<number>): HostTensor & FloatValues => ({
  shape,
  dtype: 'float32',
  values: Float32Array.from(values),
})

export const ints = (shape: readonly number[], values: Iterable<number>): HostTensor => ({
  shape,
  dtype: 'int32',
  values: Int32Array.from(values),
})

/** Numbers in 0..below-1; another name gives others. */
export function randomInts(name: string, length: number, below: number): Int32Array {
  const random = stream(2024, name)
  return Int32Array.from({ length }, () => random.below(below))
}
