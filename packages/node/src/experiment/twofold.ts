import type { Learner, LearnerState, TrainedLayout } from '@comigs/model'
import type { Parameters } from './strategy.ts'

/** How the parameters of each of the two are named. */
export const [GENERALIST, SPECIALIST] = ['generalist/', 'specialist/'] as const
const HALVES = [GENERALIST, SPECIALIST]

/** What a user learns with, be it one model or two. */
export type UserLearner = Omit<Learner, 'evaluateTogether'>

/**
 * A learner of two whole models, attention and all, that take the same steps on the same batches; which of them speaks is
 * left to the text (`evaluateTogether`). To the outside it is one learner with twice the parameters.
 */
export function twofold(learner: Learner): UserLearner {
  const layout: TrainedLayout = {
    experts: doubled(learner.layout.experts),
    sharedSize: learner.layout.experts.size,
    router: doubled(learner.layout.router),
  }
  return {
    layout,

    initial(seed, commonSeed, common) {
      return together(HALVES.map((half) => learner.initial(seed, commonSeed, named(half, common))))
    },

    async train(state, phase) {
      const states: LearnerState[] = []
      let loss = 0
      for (const [i, half] of HALVES.entries()) {
        const frozen = phase.frozen === undefined ? undefined : named(half, phase.frozen)
        const trained = await learner.train(halfOf(state, i), { ...phase, frozen })
        states.push(trained.state)
        loss += trained.loss / HALVES.length
      }
      return { state: together(states), loss }
    },

    evaluate: (state, set, maxBatches, onShare) =>
      learner.evaluateTogether(
        HALVES.map((_, i) => halfOf(state, i)),
        set,
        maxBatches,
        onShare,
      ),
  }
}

const named =
  (half: string, which: Parameters): Parameters =>
  (name) =>
    which(half + name)

function doubled({ entries, size }: TrainedLayout['experts']): TrainedLayout['experts'] {
  const both = HALVES.flatMap((half, i) =>
    entries.map((entry) => ({ ...entry, name: half + entry.name, offset: entry.offset + i * size })),
  )
  return { entries: both, size: HALVES.length * size }
}

/** Arrays of the halves, one after the other. */
function together(halves: readonly LearnerState[]): LearnerState {
  const arrays = Object.keys(halves[0]!.arrays).map((key) => {
    const parts = halves.map((half) => half.arrays[key]!)
    const joined = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
    let offset = 0
    for (const part of parts) {
      joined.set(part, offset)
      offset += part.length
    }
    return [key, joined] as const
  })
  return { ...halves[0]!, arrays: Object.fromEntries(arrays) }
}

function halfOf(state: LearnerState, i: number): LearnerState {
  const arrays = Object.entries(state.arrays).map(([key, both]) => {
    const size = both.length / HALVES.length
    return [key, both.slice(i * size, (i + 1) * size)] as const
  })
  return { ...state, arrays: Object.fromEntries(arrays) }
}
