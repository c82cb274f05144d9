import type * as tf from '@tensorflow/tfjs-core'
import { loraScale, type MixtureConfig } from './config.ts'
import { gemm } from './ops/gemm.ts'

/** Looks an array up by name. */
export type Weights = (name: string) => tf.Tensor

/**
 * A frozen linear layer with a LoRA on it: `frozen(x) + s x A B` (Hu et al., arXiv 2106.09685).
 * @param x - `[N, in]`
 * @param frozen - what the layer itself makes of x, `[N, out]`
 * @param name - of the LoRA: `name.lora_A` `[in, r]`, `name.lora_B` `[r, out]`
 * @returns `frozen` itself where there are no experts
 */
export function adapted(
  x: tf.Tensor2D,
  frozen: tf.Tensor2D,
  name: string,
  { trained, mixture }: { readonly trained: Weights; readonly mixture: MixtureConfig },
): tf.Tensor2D {
  if (mixture.experts === 0) return frozen
  const low = gemm(x, trained(`${name}.lora_A`))
  return gemm(low, trained(`${name}.lora_B`), { c: frozen, alpha: loraScale(mixture) })
}
