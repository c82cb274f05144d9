import type { BaseModel } from '../base.ts'
import { loraScale } from '../config.ts'
import { adaptedLinears, type NamedArray } from '../parameters.ts'
import { loraOf, type TrainedModel } from './trained-model.ts'

/**
 * A base into which attention and one expert are merged, `W + s A B`: a model as any other, under the names and in the
 * order of `baseLayout`, one array after the other.
 * @param trained - with one expert (`withOneExpert`)
 */
export function* mergedArrays(base: BaseModel, trained: TrainedModel): Generator<NamedArray> {
  const loras = new Map(
    adaptedLinears(trained.model).map(({ module, lora }) => [`${module}.weight`, lora(0)]),
  )
  for (const array of base.arrays) {
    const lora = loras.get(array.name)
    yield lora === undefined ? array : merged(array, trained, lora)
  }
}

/** Summed in double precision and rounded once. */
function merged({ name, shape, values }: NamedArray, trained: TrainedModel, lora: string): NamedArray {
  const { a, b } = loraOf(trained, lora)
  const [fanIn, rank] = a.shape as [number, number]
  const fanOut = b.shape[1]!
  const scale = loraScale(trained.mixture)
  // GPT-2 keeps W as [in, out], Llama as [out, in].
  const [stepIn, stepOut] = trained.model.architecture === 'gpt2' ? [fanOut, 1] : [1, fanIn]
  const sums = new Float32Array(values.length)
  const row = new Float64Array(fanOut)
  for (let i = 0; i < fanIn; i++) {
    row.fill(0)
    for (let k = 0; k < rank; k++) {
      const factor = scale * a.values[i * rank + k]!
      for (let j = 0; j < fanOut; j++) row[j]! += factor * b.values[k * fanOut + j]!
    }
    for (let j = 0; j < fanOut; j++) {
      const at = i * stepIn + j * stepOut
      sums[at] = values[at]! + row[j]!
    }
  }
  return { name, shape, values: sums }
}
