import type { Strategy } from '../strategy.ts'
import { comigs1G1S, comigs2G, comigs2S } from './comigs.ts'

// Table 5, third block: what a validation split of its own is worth to the router.

export const localMoeTr: Strategy = {
  ...comigs2S,
  name: 'local-moe-tr',
  says: 'comigs-2s, routers on train text',
  routers: 'train',
}

export const fedavgMoeTr: Strategy = {
  ...comigs2G,
  name: 'fedavg-moe-tr',
  says: 'comigs-2g, routers on train text',
  routers: 'train',
}

export const comigsTr: Strategy = {
  ...comigs1G1S,
  name: 'comigs-tr',
  says: 'comigs-1g1s, routers on train text',
  routers: 'train',
}
