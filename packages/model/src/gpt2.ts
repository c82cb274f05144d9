import * as tf from '@tensorflow/tfjs-core'
import type { Gpt2Config } from './config.ts'
import type { Forward, ForwardInput } from './forward.ts'
import { adapted } from './lora.ts'
import { mixtureMlp, type Routed } from './mixture.ts'
import { attention } from './ops/attention.ts'
import { embedding } from './ops/embedding.ts'
import { gelu } from './ops/gelu.ts'
import { gemm } from './ops/gemm.ts'
import { layerNorm } from './ops/layer-norm.ts'
import { attentionPrefix } from './parameters.ts'

// B sequences, T tokens each, N = B T, C width.

/** GPT-2 (Radford et al. 2019) with a mixture of experts. */
export function gpt2(input: ForwardInput<Gpt2Config>): Forward {
  const { model, base, tokens, batch, positions } = input
  const attend = input.attend ?? ((qkv: tf.Tensor2D) => attention(qkv, { batch, heads: model.heads }))
  const { width: C, epsilon } = model
  const N = tokens.shape[0]
  const T = N / batch
  const wte = base('wte.weight') as tf.Tensor2D
  const allPositions = base('wpe.weight') as tf.Tensor2D
  const wpe =
    positions === undefined
      ? tf.slice(allPositions, [0, 0], [T, C])
      : tf.reshape(embedding(allPositions, positions.ids), [batch, T, C])
  const embedded = tf.reshape(embedding(wte, tokens), [batch, T, C])
  let x: tf.Tensor2D = tf.reshape(tf.add(embedded, wpe), [N, C])

  const norm = (x: tf.Tensor2D, name: string) =>
    layerNorm(x, base(`${name}.weight`), base(`${name}.bias`), epsilon)
  const linear = (x: tf.Tensor2D, name: string) =>
    gemm(x, base(`${name}.weight`), { c: base(`${name}.bias`) })

  const routed: Routed[] = []
  for (let layer = 0; layer < model.layers; layer++) {
    const h = `h.${layer}`
    const attn = (x: tf.Tensor2D, part: string) =>
      adapted(x, linear(x, `${h}.attn.${part}`), `${attentionPrefix(layer)}.${part}`, input)
    const qkv = attn(norm(x, `${h}.ln_1`), 'c_attn')
    x = tf.add(x, attn(attend(qkv, layer), 'c_proj'))
    const mlp = mixtureMlp(norm(x, `${h}.ln_2`), {
      ...input,
      layer,
      linear: (x, part) => linear(x, `${h}.mlp.${part}`),
      inner: ['c_fc'],
      activate: ([z]) => gelu(z!),
      outer: 'c_proj',
    })
    x = tf.add(x, mlp.out)
    if (mlp.routed !== undefined) routed.push(mlp.routed)
  }
  return { hidden: norm(x, 'ln_f'), head: wte, routed }
}
