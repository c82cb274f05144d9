import { everything, generalist, nothing, routed, type Strategy } from '../strategy.ts'

// Table 5, second block: experts and routers in one step, on train text.

const base = { mixture: routed, trains: 'both' } as const

export const localMoe: Strategy = {
  ...base,
  name: 'local-moe',
  says: 'a mixture of two, nothing exchanged',
  shares: nothing,
}

export const fedavgMoe: Strategy = {
  ...base,
  name: 'fedavg-moe',
  says: 'a mixture of two, averaged, routers private',
  shares: everything,
}

/** pFedMoE (arXiv 2402.01350), as the paper adapts it. */
export const pfedmoe: Strategy = {
  ...base,
  name: 'pfedmoe',
  says: 'a generalist, averaged, and a specialist, trained at once with the router',
  shares: generalist,
}
