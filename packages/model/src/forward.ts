import type * as tf from '@tensorflow/tfjs-core'
import type { MixtureConfig, ModelConfig } from './config.ts'
import { gpt2 } from './gpt2.ts'
import { llama } from './llama.ts'
import type { Weights } from './lora.ts'
import type { Routed } from './mixture.ts'

// B sequences, T tokens each, N = B T, C width.

export interface ForwardInput<M extends ModelConfig = ModelConfig> {
  readonly model: M
  readonly mixture: MixtureConfig
  /** The base, under Hugging Face's names for its family. */
  readonly base: Weights
  /** LoRA and routers, under the names of `trainedLayout`. */
  readonly trained: Weights
  /** int32 `[N]`, sequence by sequence. */
  readonly tokens: tf.Tensor1D
  /** Sequences in the batch, B. */
  readonly batch: number
  /** Where each token stands in its text. @default 0, 1, 2, ... in every sequence */
  readonly positions?: Positions
  /**
   * What a layer's tokens gather from queries, keys and values side by side, `[N, (H + 2 K) D]` -> `[N, H D]`.
   * @default causal attention within each sequence
   */
  readonly attend?: (qkv: tf.Tensor2D, layer: number) => tf.Tensor2D
}

export interface Positions {
  /** int32 `[N]` */
  readonly ids: tf.Tensor1D
  /** Above all of them. */
  readonly end: number
}

export interface Forward {
  /** After the last norm, `[N, C]`: what the head turns into logits. */
  readonly hidden: tf.Tensor2D
  /** Output embedding, `[V, C]`. */
  readonly head: tf.Tensor2D
  /** Per layer, where there is a router. */
  readonly routed: readonly Routed[]
}

/** A transformer with the MLP of every block replaced by a mixture of LoRA experts. */
export function forward(input: ForwardInput): Forward {
  const { model } = input
  return model.architecture === 'gpt2' ? gpt2({ ...input, model }) : llama({ ...input, model })
}
