import type { Averaged, MixReport } from '@comigs/protocol'

/** What the guard asks of whoever trains. */
export interface GuardedTrainer {
  addShared(increment: Float32Array): Promise<void>
  validationLoss(maxBatches: number): Promise<number>
}

/** Half way to a neighbour, that is what is looked at: a lie does less harm than can be seen at its own weight, every round. */
const HALF_WAY = 0.5
/** A loss so many times that without the other is never harm. */
const HARM = 1.05
/**
 * For those who are looked at because another one did harm: a straggler that comes back from ten rounds of others finds all of
 * them a little harmful, muted five at once and stayed apart (simulator, seed 79).
 */
const PLAIN_HARM = 1.15
/**
 * Peers that learn something else cost each other more than that; were each to drop what the other says, they would go apart
 * for good. So what one may cost is twice what the better quarter of the last ones did (half of them may lie), up to where
 * blunt lies begin: cells that each learn something else for as long as they like cost a fifth (simulated), a sign flip three
 * quarters.
 */
const USUAL_TIMES = 2
const USUAL_QUANTILE = 0.25
const MOST_HARM = 1.25
/** Looks that make the usual one, and how few are too few. */
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
 * in after all others, with a look at the validation loss before and after. Where it does harm another one is looked at, and
 * so on: liars are seldom alone.
 */
export interface BenefitGuard {
  /** Neighbours not to mix with in this round. */
  muted(round: number): ReadonlySet<string>
  /**
   * Adds a mixture to x.
   * @returns the neighbours whose parts were taken back and who are muted from now on
   */
  add(mixture: MixReport, round: number): Promise<readonly string[]>
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

  // An average that is dropped is lost, and no more; a neighbour is muted for long.
  const [ofAverages, ofNeighbours] = [createUsual(HARM), createUsual(MOST_HARM)]

  /** Adds a part if `full` times as much does not harm. @returns whether it was added */
  const tryOut = async (part: Float32Array, full: number, usual: Usual, never = HARM): Promise<boolean> => {
    const without = await trainer.validationLoss(BATCHES)
    await trainer.addShared(part.map((value) => full * value))
    const isHarmless = usual.accepts((await trainer.validationLoss(BATCHES)) / without, never)
    const kept = isHarmless ? 1 : 0
    if (kept !== full) await trainer.addShared(part.map((value) => (kept - full) * value))
    return isHarmless
  }

  return {
    muted(round) {
      returning = [...silent].find(([, until]) => until <= round)?.[0]
      return new Set([...silent.keys()].filter((peer) => peer !== returning))
    },

    async add(mixture, round) {
      const isBack = mixture.mixedWith.some(({ peer }) => peer === returning)
      if (returning !== undefined) {
        const until = silent.get(returning)!
        silent.delete(returning)
        if (!isBack) silent.set(returning, until) // behind the others, who may be here
      }
      for (const peer of tried.keys()) if (!isHere(mixture, peer)) tried.delete(peer)
      await trainer.addShared(mixture.increment)
      const harmful: string[] = []
      const turn = (peer: string) => (peer === returning ? -2 : (tried.get(peer) ?? -1))
      for (const { peer, weight, clip } of mixture.mixedWith.toSorted(
        (a, b) => turn(a.peer) - turn(b.peer),
      )) {
        tried.set(peer, round)
        const part = mixture.contribution(peer)
        await trainer.addShared(part.map((value) => -value))
        // Farther off than is looked at: it has not changed, and once all others agree its lie is clipped to less than is seen.
        const isFar = peer === returning && clip < 1 / MOST_MAGNIFIED
        const full = Math.max(1, HALF_WAY / weight) * unclipped(clip)
        if (!isFar && (await tryOut(part, full, ofNeighbours, harmful.length === 0 ? HARM : PLAIN_HARM)))
          break
        silent.set(peer, round + MUTED_ROUNDS)
        harmful.push(peer)
      }
      return harmful
    },

    async addAveraged({ increment, clip }) {
      await tryOut(increment, unclipped(clip), ofAverages)
    },
  }
}

/** What those of a kind make of the loss, and what the next may therefore make of it: more than 1 is worse. */
interface Usual {
  /** Remembers a cost. @returns whether it may be: what is below `never` is never harm */
  accepts(cost: number, never: number): boolean
}

/** @param atFirst - what may be while too few are known */
function createUsual(atFirst: number): Usual {
  const costs: number[] = []
  const allowed = (never: number): number => {
    if (costs.length < FEW) return atFirst
    const usual = costs.toSorted((a, b) => a - b)[Math.floor(USUAL_QUANTILE * costs.length)]!
    return Math.min(Math.max(never, 1 + USUAL_TIMES * (usual - 1)), MOST_HARM)
  }
  return {
    accepts(cost, never) {
      const isUsual = cost <= allowed(never)
      // A loss that is no number any more is harm, too.
      costs.push(Number.isNaN(cost) ? Infinity : cost)
      if (costs.length > REMEMBERED) costs.shift()
      return isUsual
    },
  }
}

/** By how much to lengthen what was clipped. */
const unclipped = (clip: number): number => 1 / Math.max(clip, 1 / MOST_MAGNIFIED)

const isHere = ({ mixedWith, leftOut }: MixReport, peer: string): boolean =>
  mixedWith.some((one) => one.peer === peer) || leftOut.some((one) => one.peer === peer)
