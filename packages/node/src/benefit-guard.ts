import type { Averaged, MixReport } from '@comigs/protocol'

/** What the guard asks of whoever trains. */
export interface GuardedTrainer {
  addShared(increment: Float32Array): Promise<void>
  validationLoss(maxBatches: number): Promise<number>
}

/** A loss so many times that without the neighbour is harm; a neighbour with other text costs less than this. */
const HARM = 1.05
/**
 * Cells that have gone apart cost each other more than that; were each to drop what the other says, they would go apart for
 * good. So what an average may cost is twice what the better quarter of the last ones did (peers meet the same few outsiders
 * for minutes, of whom half may lie), up to where blunt lies begin: cells that each learn something else for as long as they
 * like cost a fifth (simulated), a sign flip three quarters.
 */
const USUAL_TIMES = 2
const USUAL_QUANTILE = 0.25
const MOST_HARM = 1.25
/** Exchanges that make the usual one, and how few are too few. */
const REMEMBERED = 16
const FEW = 3
/**
 * A muted neighbour gets another chance after so many rounds: it may have been a bad phase. One at a time, and looked at
 * before it counts, for those who lied together were muted together, and would all be back at once.
 */
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
  /** The first round in which a neighbour may be heard again. */
  const silent = new Map<string, number>()
  /** Who of these gets its chance in this round. */
  let returning: string | undefined
  /** The round in which a neighbour was last looked at. */
  const tried = new Map<string, number>()

  /** What the last averages made of the loss: more than 1 is worse. */
  const costs: number[] = []

  /** Adds a part if the loss does not become more than `allowed` times as large. @returns how many times it did */
  const tryOut = async (part: Float32Array, clip: number, allowed: number): Promise<number> => {
    const without = await trainer.validationLoss(BATCHES)
    const full = 1 / Math.max(clip, 1 / MOST_MAGNIFIED)
    await trainer.addShared(part.map((value) => full * value))
    const ratio = (await trainer.validationLoss(BATCHES)) / without
    // A loss that is no number any more is harm, too.
    const cost = Number.isNaN(ratio) ? Infinity : ratio
    const kept = cost <= allowed ? 1 : 0
    if (kept !== full) await trainer.addShared(part.map((value) => (kept - full) * value))
    return cost
  }

  /** What an average may make of the loss. */
  const allowedOfAverage = (): number => {
    if (costs.length < FEW) return HARM
    const usual = costs.toSorted((a, b) => a - b)[Math.floor(USUAL_QUANTILE * costs.length)]!
    return Math.min(Math.max(HARM, 1 + USUAL_TIMES * (usual - 1)), MOST_HARM)
  }

  return {
    muted(round) {
      returning = [...silent].find(([, until]) => until <= round)?.[0]
      return new Set([...silent.keys()].filter((peer) => peer !== returning))
    },

    async add(mixture, round) {
      const isBack = mixture.mixedWith.some(({ peer }) => peer === returning)
      const candidate = isBack ? returning : longestUntried(mixture.mixedWith, tried)
      if (returning !== undefined) {
        const until = silent.get(returning)!
        silent.delete(returning)
        if (!isBack) silent.set(returning, until) // behind the others, who may be here
      }
      if (candidate === undefined) {
        await trainer.addShared(mixture.increment)
        return undefined
      }
      for (const peer of tried.keys()) if (!isHere(mixture, peer)) tried.delete(peer)
      tried.set(candidate, round)
      const last = mixture.contribution(candidate)
      const { clip } = mixture.mixedWith.find(({ peer }) => peer === candidate)!
      await trainer.addShared(mixture.increment.map((value, k) => value - last[k]!))
      // Farther off than is looked at: it has not changed, and once all others agree its lie is clipped to less than is seen.
      const isFar = isBack && clip < 1 / MOST_MAGNIFIED
      if (!isFar && (await tryOut(last, clip, HARM)) <= HARM) return undefined
      silent.set(candidate, round + MUTED_ROUNDS)
      return candidate
    },

    async addAveraged({ increment, clip }) {
      costs.push(await tryOut(increment, clip, allowedOfAverage()))
      if (costs.length > REMEMBERED) costs.shift()
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
