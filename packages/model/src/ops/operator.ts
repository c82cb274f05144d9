import * as tf from '@tensorflow/tfjs-core'
// tfjs-core's Node bundle registers no gradients for tfjs's own operators; this one does.
import '@tensorflow/tfjs-layers'

/** Backends that compute at once. There the named operators run as compositions of tfjs's own operators. */
const EAGER_BACKENDS = ['cpu', 'wasm', 'tensorflow'] as const

/** The backend that writes a step down for the `onnx` engine (engine/recorder.ts). */
export const RECORDER_BACKEND = 'comigs-recorder'

export type Attrs = Readonly<Record<string, unknown>>
type Inputs = Readonly<Record<string, tf.Tensor>>

/**
 * A named operator: one kernel name that the `onnx` engine lowers as a whole, with a plain tfjs composition that runs
 * everywhere else and is the oracle of the lowering.
 */
export interface Operator {
  readonly kernel: string
  compose(inputs: Inputs, attrs: Attrs): tf.Tensor | tf.Tensor[]
  /** The `onnx` engine has no lowering of its own for it and takes the composition. @default false */
  readonly composed?: boolean
  /** As tfjs's own gradients: which tensors the gradient needs, and a closure for every differentiable input. */
  readonly gradient?: Pick<tf.GradConfig, 'inputsToSave' | 'outputsToSave' | 'gradFunc'>
}

/** Makes an operator known to tfjs and returns the function that runs it. */
export function defineOperator(
  operator: Operator,
): (inputs: Record<string, tf.Tensor>, attrs?: Attrs) => tf.Tensor[] {
  const { kernel, compose, gradient, composed = false } = operator
  for (const backendName of composed ? [...EAGER_BACKENDS, RECORDER_BACKEND] : EAGER_BACKENDS) {
    tf.registerKernel({
      kernelName: kernel,
      backendName,
      kernelFunc: ({ inputs, attrs }) =>
        tf.tidy(() => compose(inputs as Record<string, tf.Tensor>, attrs ?? {})),
    })
  }
  if (gradient !== undefined) tf.registerGradient({ kernelName: kernel, ...gradient })
  return (inputs, attrs = {}) => {
    const result: unknown = tf.engine().runKernel(kernel, inputs, attrs as tf.NamedAttrMap)
    return Array.isArray(result) ? (result as tf.Tensor[]) : [result as tf.Tensor]
  }
}
