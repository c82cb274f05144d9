import { averaged, everything, nothing, type Strategy } from '../strategy.ts'

const base = { mixture: averaged, trains: 'experts' } as const

export const centralized: Strategy = {
  ...base,
  name: 'centralized',
  says: "one model on everyone's text",
  shares: nothing,
  pooled: true,
}

export const local: Strategy = { ...base, name: 'local', says: 'everyone alone', shares: nothing }

export const fedavg: Strategy = { ...base, name: 'fedavg', says: 'one LoRA, averaged', shares: everything }
