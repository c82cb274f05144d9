/** What all families have, from Hugging Face's `config.json`. */
interface TransformerConfig {
  /** Pieces of the vocabulary, V. */
  readonly vocabSize: number
  /** Longest sequence that positions exist for. */
  readonly positions: number
  /** Width of the residual stream, C. */
  readonly width: number
  readonly layers: number
  /** Attention heads, H. */
  readonly heads: number
  /** Width inside the MLP, F. */
  readonly hidden: number
  /** Added to the variance in norms. */
  readonly epsilon: number
}

export interface Gpt2Config extends TransformerConfig {
  readonly architecture: 'gpt2'
}

export interface LlamaConfig extends TransformerConfig {
  readonly architecture: 'llama'
  /** Heads of keys and values, K; each serves H / K heads of queries. */
  readonly kvHeads: number
  /** Width of a head, D. Not always C / H. */
  readonly headWidth: number
  readonly rope: RopeConfig
  /** Whether the head is the input embedding. */
  readonly tied: boolean
}

export interface RopeConfig {
  readonly theta: number
  /** How sequences longer than those of pre-training were made possible. */
  readonly scaling:
    | undefined
    | { readonly kind: 'linear'; readonly factor: number }
    | {
        readonly kind: 'llama3'
        readonly factor: number
        readonly lowFrequencyFactor: number
        readonly highFrequencyFactor: number
        /** Longest sequence of pre-training. */
        readonly positions: number
      }
}

export type ModelConfig = Gpt2Config | LlamaConfig

/** Heads of keys and of values, K, and the width of one, D. */
export function keyShape(model: ModelConfig): { readonly heads: number; readonly width: number } {
  return model.architecture === 'gpt2'
    ? { heads: model.heads, width: model.width / model.heads }
    : { heads: model.kvHeads, width: model.headWidth }
}

export interface MixtureConfig {
  /** Experts of this peer, n. Expert 0 is the generalist. 0: the base alone, without LoRA. */
  readonly experts: number
  /** LoRA rank, r. */
  readonly rank: number
  /** LoRA's alpha; the scale is alpha / sqrt(r) (rank-stabilised, arXiv 2312.03732). */
  readonly alpha: number
  /** `router`: softmax over each token's top-2 logits; `mean`: every expert counts the same. */
  readonly routing: 'router' | 'mean'
}

export const DEFAULT_MIXTURE: MixtureConfig = { experts: 2, rank: 8, alpha: 16, routing: 'router' }

/** A token goes to at most this many experts (paper, section 3). */
export const TOP_K = 2

export const loraScale = ({ rank, alpha }: Pick<MixtureConfig, 'rank' | 'alpha'>): number =>
  alpha / Math.sqrt(rank)
