import { averaged, oneExpert, type Strategy } from '../strategy.ts'
import { GENERALIST } from '../twofold.ts'

const base = {
  twofold: true,
  trains: 'experts',
  shares: (name: string) => name.startsWith(GENERALIST),
} as const

/** Ours: what is fedavg and what is local, side by side. */
export const twofoldWide: Strategy = {
  ...base,
  name: 'twofold-wide',
  says: 'all of fedavg and all of local, the text decides which speaks',
  mixture: averaged,
}

/** Ours: a generalist and a specialist that have an attention LoRA each; as many bytes as comigs-1g1s. */
export const twofold: Strategy = {
  ...base,
  name: 'twofold',
  says: 'a whole generalist, averaged, and a whole specialist, the text decides which speaks',
  mixture: oneExpert,
}
