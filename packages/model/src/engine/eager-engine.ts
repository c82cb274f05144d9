import * as tf from '@tensorflow/tfjs-core'
import { ModelError } from '../errors.ts'
import type { Engine, EngineName, Program, Step } from './engine.ts'
import type { HostArray, TensorSpec } from './graph.ts'
import { checked } from './inputs.ts'
import { restore, store } from './storage.ts'

/**
 * Runs steps as they are written, one tfjs kernel after the other, on a tfjs backend that computes at once: libtensorflow
 * where it is installed, or plain JavaScript as the oracle. Compiling is the identity.
 */
export function createEagerEngine(name: EngineName, backend: string, device: string): Engine {
  const arrays = new Map<string, tf.Tensor>()
  const use = () => void tf.setBackend(backend)
  const tensorOf = ({ shape, dtype }: TensorSpec, values: HostArray) => tf.tensor(values, [...shape], dtype)
  const array = (key: string): tf.Tensor => {
    const found = arrays.get(key)
    if (found === undefined) throw new ModelError({ code: 'ARRAY_MISSING', name: key })
    return found
  }
  const replace = (key: string, tensor: tf.Tensor) => {
    arrays.get(key)?.dispose()
    arrays.set(key, tensor)
  }

  return {
    name,
    device,

    place(key, tensor, { storage } = {}) {
      use()
      // tfjs has neither float16 nor int8: what is gained is that every engine computes with the same numbers.
      const stored = storage && store(tensor.values as Float32Array, tensor.shape.at(-1)!, storage)
      const values = stored === undefined ? tensor.values.slice() : restore(stored, tensor.shape.at(-1)!)
      replace(key, tf.keep(tensorOf(tensor, values)))
    },

    async read(key) {
      return Float32Array.from((await array(key).data()) as Float32Array)
    },

    remove(key) {
      arrays.get(key)?.dispose()
      arrays.delete(key)
    },

    compile(step: Step): Promise<Program> {
      return Promise.resolve({
        async run(values) {
          use()
          const results = tf.tidy(() => {
            const tensors: Record<string, tf.Tensor> = {}
            for (const key of step.reads) tensors[key] = array(key)
            for (const [key, spec] of Object.entries(step.inputs))
              tensors[key] = tensorOf(spec, checked(key, spec, values[key]))
            // A result may be an argument handed through: a copy of its own keeps ownership simple.
            const made = Object.entries(step.build(tensors)).map(
              ([key, tensor]) => [key, tf.clone(tensor)] as const,
            )
            return Object.fromEntries(made)
          })
          // All writes before the first pause, or another run could come between and read what was before.
          for (const key of step.writes) replace(key, tf.keep(results[key]!))
          const returned: Record<string, Float32Array> = {}
          for (const [key, tensor] of Object.entries(results)) {
            if (step.writes.includes(key)) continue
            returned[key] = Float32Array.from((await tensor.data()) as Float32Array)
            tensor.dispose()
          }
          return returned
        },
        dispose() {
          // Nothing was compiled.
        },
      })
    },

    memoryBytes() {
      let bytes = 0
      for (const tensor of arrays.values()) bytes += tensor.size * 4
      return bytes
    },

    dispose() {
      for (const tensor of arrays.values()) tensor.dispose()
      arrays.clear()
    },
  }
}
