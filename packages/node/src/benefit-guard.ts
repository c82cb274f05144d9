import type { Averaged, MixReport } from '@comigs/protocol'

/** What the guard asks of whoever trains. */
export interface GuardedTrainer {
  addShared(increment: Float32Array): Promise<void>
  validationLoss(maxBatches: number): Promise<number>
}

/** A loss so many times that without the neighbour is harm; a neighbour with other text costs less than this. */
const HARM = 1.05
/** A muted neighbour gets another chance after so many rounds: it may have been a bad phase. */
const MUTED_ROUNDS = 20
/**
 * What was clipped is looked at as it was before, up to so many times as large: shortened, a lie does less harm than can be
 * seen, and does it every round. Not more, for x must come back from it in float32.
 */
const MOST_MAGNIFIED = 10
/** Both looks see the same batches, so that few are enough for a difference of this size. */
const BATCHES = 2

/**
 * Clipping bounds how far a neighbour moves us; this asks whether it moves us for the worse. One neighbour a round is mixed
 * in after all others, with a look at the validation loss before and after.
 */
export interface BenefitGuard {
  /** Neighbours not to mix with in this round. */
  muted(round: number): ReadonlySet<string>
  /**
   * Adds a mixture to x.
   * @returns the neighbour whose part was taken back and who is muted from now on
   */
  add(mixture: MixReport, round: number): Promise<string | undefined>
  /** Adds what pairwise averaging brought, unless it does harm. */
  addAveraged(averaged: Averaged): Promise<void>
}

export function createBenefitGuard(trainer: GuardedTrainer): BenefitGuard {
  /** The first round in which a neighbour is heard again. */
  const silent = new Map<string, number>()
  /** The round in which a neighbour was last looked at. */
  const tried = new Map<string, number>()

  /** Adds a part unless that does harm. @returns whether it stayed */
  const tryOut = async (part: Float32Array, clip: number): Promise<boolean> => {
    const without = await trainer.validationLoss(BATCHES)
    const full = 1 / Math.max(clip, 1 / MOST_MAGNIFIED)
    await trainer.addShared(part.map((value) => full * value))
    const whole = await trainer.validationLoss(BATCHES)
    // So that a loss that is no number any more counts as harm.
    const kept = whole <= HARM * without ? 1 : 0
    if (kept !== full) await trainer.addShared(part.map((value) => (kept - full) * value))
    return kept === 1
  }

  return {
    muted: (round) => new Set([...silent].filter(([, until]) => round < until).map(([peer]) => peer)),

    async add(mixture, round) {
      const candidate = longestUntried(mixture.mixedWith, tried)
      if (candidate === undefined) {
        await trainer.addShared(mixture.increment)
        return undefined
      }
      for (const peer of tried.keys()) if (!isHere(mixture, peer)) tried.delete(peer)
      tried.set(candidate, round)
      const last = mixture.contribution(candidate)
      const { clip } = mixture.mixedWith.find(({ peer }) => peer === candidate)!
      await trainer.addShared(mixture.increment.map((value, k) => value - last[k]!))
      if (await tryOut(last, clip)) return undefined
      silent.set(candidate, round + MUTED_ROUNDS)
      return candidate
    },

    async addAveraged({ increment, clip }) {
      await tryOut(increment, clip)
    },
  }
}

const isHere = ({ mixedWith, leftOut }: MixReport, peer: string): boolean =>
  mixedWith.some((one) => one.peer === peer) || leftOut.some((one) => one.peer === peer)

function longestUntried(
  neighbours: MixReport['mixedWith'],
  tried: ReadonlyMap<string, number>,
): string | undefined {
  let found: string | undefined
  let least = Infinity
  for (const { peer } of neighbours) {
    const round = tried.get(peer) ?? -1
    if (round < least) [found, least] = [peer, round]
  }
  return found
}
