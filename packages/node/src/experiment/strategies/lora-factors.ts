import { everything, type Parameters, single, type Strategy } from '../strategy.ts'

const base = { mixture: single, trains: 'experts' } as const

const factorA: Parameters = (name) => name.endsWith('.lora_A')
const expertA: Parameters = (name) => factorA(name) && name.includes('.experts.')

/** Sun et al. 2024 (arXiv 2403.12313); attention has both factors trained and averaged, as in the paper's code. */
export const ffaLora: Strategy = {
  ...base,
  name: 'ffa-lora',
  says: 'A of the expert stays as drawn, the rest is averaged',
  frozen: expertA,
  shares: (name) => everything(name) && !expertA(name),
}

/** Guo et al. 2024 (arXiv 2410.01463), as its paper means it: the public code of CoMiGS averages B, too. */
export const fedsaLora: Strategy = {
  ...base,
  name: 'fedsa-lora',
  says: 'A is averaged, B stays private',
  shares: factorA,
}
