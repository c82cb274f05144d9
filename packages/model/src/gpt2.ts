import * as tf from '@tensorflow/tfjs-core'
import { loraScale, type MixtureConfig, type ModelConfig } from './config.ts'
import { mixtureMlp, type Routed, type Weights } from './mixture.ts'
import { attention } from './ops/attention.ts'
import { embedding } from './ops/embedding.ts'
import { gemm } from './ops/gemm.ts'
import { layerNorm } from './ops/layer-norm.ts'
import { attentionPrefix } from './parameters.ts'

// B sequences, T tokens each, N = B T, C width.

export interface Forward {
  /** After the last layer norm, `[N, C]`: what the head turns into logits. */
  readonly hidden: tf.Tensor2D
  /** Output embedding, tied to the input's, `[V, C]`. */
  readonly head: tf.Tensor2D
  /** Per layer, where there is a router. */
  readonly routed: readonly Routed[]
}

export interface ForwardInput {
  readonly model: ModelConfig
  readonly mixture: MixtureConfig
  /** The base, under Hugging Face's names for GPT-2. */
  readonly base: Weights
  /** LoRA and routers, under the names of `trainedLayout`. */
  readonly trained: Weights
  /** int32 `[N]`, sequence by sequence. */
  readonly tokens: tf.Tensor1D
  /** Sequences in the batch, B. */
  readonly batch: number
  /** Where each token stands in its text, int32 `[N]`. @default 0, 1, 2, ... in every sequence */
  readonly positions?: tf.Tensor1D
  /** What a layer's tokens gather, `[N, 3 C]` -> `[N, C]`. @default causal attention within each sequence */
  readonly attend?: (qkv: tf.Tensor2D, layer: number) => tf.Tensor2D
}

/** GPT-2 (Radford et al. 2019) with the MLP of every block replaced by a mixture of LoRA experts. */
export function gpt2(input: ForwardInput): Forward {
  const { model, mixture, base, trained, tokens, batch } = input
  const attend = input.attend ?? ((qkv: tf.Tensor2D) => attention(qkv, { batch, heads: model.heads }))
  const { width: C, epsilon } = model
  const N = tokens.shape[0]
  const T = N / batch
  const wte = base('wte.weight') as tf.Tensor2D
  const allPositions = base('wpe.weight') as tf.Tensor2D
  const wpe =
    input.positions === undefined
      ? tf.slice(allPositions, [0, 0], [T, C])
      : tf.reshape(embedding(allPositions, input.positions), [batch, T, C])
  const embedded = tf.reshape(embedding(wte, tokens), [batch, T, C])
  let x: tf.Tensor2D = tf.reshape(tf.add(embedded, wpe), [N, C])

  const norm = (input: tf.Tensor2D, name: string) =>
    layerNorm(input, base(`${name}.weight`), base(`${name}.bias`), epsilon)
  const linear = (input: tf.Tensor2D, name: string, loraName: string): tf.Tensor2D => {
    const frozen = gemm(input, base(`${name}.weight`), { c: base(`${name}.bias`) })
    if (mixture.experts === 0) return frozen
    const low = gemm(input, trained(`${loraName}.lora_A`))
    return gemm(low, trained(`${loraName}.lora_B`), { c: frozen, alpha: loraScale(mixture) })
  }

  const routed: Routed[] = []
  for (let layer = 0; layer < model.layers; layer++) {
    const h = `h.${layer}`
    const lora = attentionPrefix(layer)
    const attended = attend(linear(norm(x, `${h}.ln_1`), `${h}.attn.c_attn`, `${lora}.c_attn`), layer)
    x = tf.add(x, linear(attended, `${h}.attn.c_proj`, `${lora}.c_proj`))
    const mlp = mixtureMlp(norm(x, `${h}.ln_2`), { layer, base, trained, mixture })
    x = tf.add(x, mlp.out)
    if (mlp.routed !== undefined) routed.push(mlp.routed)
  }
  return { hidden: norm(x, 'ln_f'), head: wte, routed }
}
