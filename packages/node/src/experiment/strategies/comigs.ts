import { everything, generalist, nothing, routed, type Strategy } from '../strategy.ts'

const base = { mixture: routed, trains: 'experts', routers: 'valid' } as const

export const comigs2S: Strategy = {
  ...base,
  name: 'comigs-2s',
  says: 'two specialists, nothing exchanged',
  shares: nothing,
}

export const comigs2G: Strategy = {
  ...base,
  name: 'comigs-2g',
  says: 'two generalists, averaged',
  shares: everything,
}

/** What a peer does. */
export const comigs1G1S: Strategy = {
  ...base,
  name: 'comigs-1g1s',
  says: 'a generalist, averaged, and a specialist',
  shares: generalist,
}

/** To compare with the paper's figures, which came with the leak. */
export const comigs1G1SLeaky: Strategy = {
  ...comigs1G1S,
  name: 'comigs-1g1s-leaky',
  says: "comigs-1g1s with the gradient leak of the authors' code",
  leaky: true,
}

/** Experts by user, generalist included, as the paper's table 2 gives them (and the other way round). */
const unequal =
  (experts: readonly number[]): Strategy['mixture'] =>
  (user) => ({ ...routed(), experts: experts[user % experts.length]! })

export const comigs1GXS: Strategy = {
  ...comigs1G1S,
  name: 'comigs-1gxs',
  says: 'a generalist and 1, 1, 3, 3 specialists',
  mixture: unequal([2, 2, 4, 4]),
}

export const comigs1GXSReversed: Strategy = {
  ...comigs1G1S,
  name: 'comigs-1gxs-reversed',
  says: 'a generalist and 3, 3, 1, 1 specialists',
  mixture: unequal([4, 4, 2, 2]),
}
