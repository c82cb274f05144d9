import * as tf from '@tensorflow/tfjs-core'
import type { LlamaConfig } from './config.ts'
import type { Forward, ForwardInput } from './forward.ts'
import { adapted } from './lora.ts'
import { mixtureMlp, type Routed } from './mixture.ts'
import { attention } from './ops/attention.ts'
import { embedding } from './ops/embedding.ts'
import { gemm } from './ops/gemm.ts'
import { rmsNorm } from './ops/rms-norm.ts'
import { rotary } from './ops/rotary.ts'
import { swiglu } from './ops/swiglu.ts'
import { attentionPrefix } from './parameters.ts'
import { ropeTables } from './rope.ts'

// B sequences, T tokens each, N = B T, C width, H heads of queries, K of keys and values, D width of a head.

/** Llama (Touvron et al., arXiv 2302.13971 and 2307.09288) with a mixture of experts. */
export function llama(input: ForwardInput<LlamaConfig>): Forward {
  const { model, base, tokens, batch, positions } = input
  const { heads, kvHeads, headWidth } = model
  const attend = input.attend ?? ((qkv: tf.Tensor2D) => attention(qkv, { batch, heads, kvHeads }))
  const end = positions?.end ?? tokens.shape[0] / batch
  const tables = ropeTables(model.rope, headWidth, end)
  const [cos, sin] = [tables.cos, tables.sin].map((values) => {
    const table = tf.tensor2d(values, [end, headWidth / 2])
    return positions === undefined ? table : embedding(table, positions.ids)
  }) as [tf.Tensor2D, tf.Tensor2D]
  const sequences = positions === undefined ? batch : 1 // that the rows of cos and sin are repeated for
  const wte = base('model.embed_tokens.weight') as tf.Tensor2D
  let x = embedding(wte, tokens) // [N, C]

  const norm = (x: tf.Tensor2D, name: string) => rmsNorm(x, base(`${name}.weight`), model.epsilon)
  // Stored [out, in].
  const linear = (x: tf.Tensor2D, name: string) => gemm(x, base(`${name}.weight`), { transposeB: true })

  const routed: Routed[] = []
  for (let layer = 0; layer < model.layers; layer++) {
    const h = `model.layers.${layer}`
    const attn = (x: tf.Tensor2D, part: string) =>
      adapted(x, linear(x, `${h}.self_attn.${part}`), `${attentionPrefix(layer)}.${part}`, input)
    const seen = norm(x, `${h}.input_layernorm`)
    const q = rotary(attn(seen, 'q_proj'), cos, sin, { batch: sequences, heads }) // [N, H D]
    const k = rotary(attn(seen, 'k_proj'), cos, sin, { batch: sequences, heads: kvHeads }) // [N, K D]
    const qkv: tf.Tensor2D = tf.concat([q, k, attn(seen, 'v_proj')], 1)
    x = tf.add(x, attn(attend(qkv, layer), 'o_proj'))
    const mlp = mixtureMlp(norm(x, `${h}.post_attention_layernorm`), {
      ...input,
      layer,
      linear: (x, part) => linear(x, `${h}.mlp.${part}`),
      inner: ['gate_proj', 'up_proj'],
      activate: ([gate, up]) => swiglu(gate!, up!),
      outer: 'down_proj',
    })
    x = tf.add(x, mlp.out)
    if (mlp.routed !== undefined) routed.push(mlp.routed)
  }
  const head = model.tied ? wte : (base('lm_head.weight') as tf.Tensor2D)
  return { hidden: norm(x, 'model.norm'), head, routed }
}
