import { mean } from '@comigs/protocol'

export interface SharedVectors {
  /** What each user shares, flat. */
  readonly vectors: readonly Float32Array[]
  /** The arrays inside each user's vector. */
  readonly layouts: readonly (readonly SharedArray[])[]
}

/** What a round of a synchronous, lossless network has to work with after everyone's local steps. */
export interface MergeInput extends SharedVectors {
  /** What all of them began as (those of the first user's size). */
  readonly initial: Float32Array
  /** What the last round's merge left for this one; empty in the first. */
  readonly memory: readonly Float32Array[]
  readonly round: number
  readonly isLast: boolean
  readonly seed: number
  /** Cross entropy of a user on its validation text, were this its shared part; nats per token over a few batches. */
  validationLoss(user: number, vector: Float32Array): Promise<number>
}

/** An array of what is shared, and where it stands in the flat vector. */
export interface SharedArray {
  readonly name: string
  readonly shape: readonly number[]
  readonly offset: number
  readonly size: number
}

export interface Merged {
  /** What each user goes on with. */
  readonly vectors: readonly Float32Array[]
  /** Bytes that a user says in this round, once however many hear it. */
  readonly bytes: number
  /** @default nothing */
  readonly memory?: readonly Float32Array[]
}

export type Merge = (input: MergeInput) => Merged | Promise<Merged>

/** The server of federated averaging: everyone goes on with the mean (McMahan et al. 2016, arXiv 1602.05629). */
export const average: Merge = ({ vectors }) => {
  const centre = mean(vectors)
  return { vectors: vectors.map(() => centre), bytes: centre.byteLength }
}
