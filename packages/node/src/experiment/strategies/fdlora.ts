import { stream } from '@comigs/model/light'
import { average, type Merge } from '../merge.ts'
import { everything, oneExpert, type Strategy } from '../strategy.ts'

/** Looks at validation text for one fusion, and what weights cost there. */
const TRIALS = 10
const PENALTY = 0.05

/**
 * After the last round each user takes `v1` times its own LoRA and `v2` times the mean, A and B each, with the `v` in
 * [-1, 1]² that is best on validation text; attention is the mean. The authors search with a library of black-box
 * optimisers; here the first trial is the mean itself and the others are drawn evenly.
 */
const fuse: Merge = async (input) => {
  const merged = await average(input)
  if (!input.isLast) return merged
  const centre = merged.vectors[0]!
  const fused: Float32Array[] = []
  for (const [user, own] of input.vectors.entries()) {
    const random = stream(input.seed, 'fusion', user)
    let best = { loss: Infinity, vector: centre }
    for (let trial = 0; trial < TRIALS; trial++) {
      const [v1, v2] = trial === 0 ? [0, 1] : [2 * random.float() - 1, 2 * random.float() - 1]
      const vector = centre.slice()
      for (const { name, offset, size } of input.layouts[user]!) {
        if (!name.includes('.experts.')) continue
        for (let k = offset; k < offset + size; k++) vector[k] = v1 * own[k]! + v2 * centre[k]!
      }
      const penalty = (PENALTY * (Math.abs(v1) + Math.abs(v2))) / 2
      const loss = penalty + (await input.validationLoss(user, vector))
      if (loss < best.loss) best = { loss, vector }
    }
    fused.push(best.vector)
  }
  return { ...merged, vectors: fused }
}

/** Qi et al. 2024 (arXiv 2406.07925), as the paper compares with it. */
export const fdlora: Strategy = {
  name: 'fdlora',
  says: "one LoRA, averaged; at the end fused with one's own",
  mixture: oneExpert,
  trains: 'experts',
  shares: everything,
  merge: fuse,
}
