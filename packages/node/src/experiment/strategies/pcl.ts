import type { Merge } from '../merge.ts'
import { averaged, everything, type Strategy } from '../strategy.ts'

/** Everyone's model weighted by how well it does on one's own validation text: `softmax_j(-perplexity_ij)`. */
const trusted: Merge = async ({ vectors, validationLoss }) => {
  const mixed = []
  for (const user of vectors.keys()) {
    const perplexities: number[] = []
    for (const vector of vectors) perplexities.push(Math.exp(await validationLoss(user, vector)))
    const best = Math.min(...perplexities)
    const trust = perplexities.map((perplexity) => Math.exp(best - perplexity))
    mixed.push(weightedMean(vectors, trust))
  }
  return { vectors: mixed, bytes: vectors[0]!.byteLength }
}

function weightedMean(vectors: readonly Float32Array[], weights: readonly number[]): Float32Array {
  const total = weights.reduce((sum, weight) => sum + weight)
  return vectors[0]!.map(
    (_, k) => vectors.reduce((sum, vector, j) => sum + weights[j]! * vector[k]!, 0) / total,
  )
}

/** Wagner et al. 2024 (arXiv 2404.09753), strategy 2. */
export const pcl: Strategy = {
  name: 'pcl',
  says: "everyone's LoRA weighted by its perplexity on one's own validation text",
  mixture: averaged,
  trains: 'experts',
  shares: everything,
  merge: trusted,
}
