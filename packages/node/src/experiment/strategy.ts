import type { MixtureConfig } from '@comigs/model/light'
import { PAPER } from '../paper.ts'
import type { Merge, SharedVectors } from './merge.ts'

/** Picks parameters by name (`trainedLayout` of the model). */
export type Parameters = (name: string) => boolean

/** A way to train a federation, said as data: what each has, what it is trained on, what is exchanged and how. */
export interface Strategy {
  readonly name: string
  /** In a line. */
  readonly says: string
  /** What a user has beside the base, by the user's place in the data set. */
  mixture(user: number): MixtureConfig
  /** Two whole models of that mixture instead of one (`twofold.ts`). */
  readonly twofold?: true
  /** `experts`: one step moves the experts, routers stay. `both`: experts and routers, on train text. */
  readonly trains: 'nothing' | 'experts' | 'both'
  /** Routers have phases of their own, as CoMiGS does, on text of this split. */
  readonly routers?: 'valid' | 'train'
  /** Gradients leak from expert steps into router steps and back, as in the authors' code. */
  readonly leaky?: true
  /** Parameters of the experts that stay as they began. */
  readonly frozen?: Parameters
  /** What users exchange after each round. It is drawn the same for all of a shape. */
  readonly shares: Parameters
  /** What of it users begin with, where shapes differ. @default as drawn */
  readonly begins?: (drawn: SharedVectors) => readonly Float32Array[]
  /** What becomes of what they exchange. @default everyone gets the mean */
  readonly merge?: Merge
  /** One model on everyone's text, in batches as much larger. */
  readonly pooled?: true
}

export const nothing: Parameters = () => false
/** LoRA of all experts and of attention. Routers are not exchanged by any strategy of the paper. */
export const everything: Parameters = () => true
/** Expert 0 and attention: what CoMiGS shares. */
export const generalist: Parameters = (name) => /\.attn\.|\.experts\.0\./.test(name)

/** Two experts and a router, the paper's default. */
export const routed = (): MixtureConfig => ({ ...PAPER.lora, experts: 2, routing: 'router' })
/** As many parameters without a router: the mean of two experts. */
export const averaged = (): MixtureConfig => ({ ...PAPER.lora, experts: 2, routing: 'mean' })
/** One expert of the paper's rank. */
export const oneExpert = (): MixtureConfig => ({ ...PAPER.lora, experts: 1, routing: 'mean' })
/** As many parameters as two in one expert of twice the rank. */
export const single = (): MixtureConfig => ({
  experts: 1,
  rank: 2 * PAPER.lora.rank,
  alpha: PAPER.lora.alpha,
  routing: 'mean',
})
