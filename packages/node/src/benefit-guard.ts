import { type Averaged, difference, keepLast, LIMITS, type MixReport } from '@comigs/protocol'
import { negated } from './vectors.ts'

/** What the guard asks of whoever trains. */
export interface GuardedTrainer {
  addShared(increment: Float32Array): Promise<void>
  validationLoss(maxBatches: number): Promise<number>
}

/**
 * Half way between the mixture of all others and a neighbour, that is what is looked at: a lie does less harm than can be seen
 * at its own weight, every round. Between these two, and not half of the neighbour's difference from us on top of the mixture:
 * that would take out again what we have learnt ourselves, and honest peers looked harmful for it.
 */
const HALF_WAY = 0.5
/**
 * A loss so many times that without the other is never harm. Real peers of other languages cost each other up to 6 %, but for a
 * bad round; a liar that takes back half of what was learnt costs 8 (simulated).
 */
const HARM = 1.07
/**
 * Peers that learn something else cost each other more than that; were each to drop what the other says, they would go apart
 * for good. So what one may cost is twice what the better quarter of the others does (half of them may lie), but never twice
 * what the best alone does: of four peers, two pairs that each agree would part (simulator, seed 665).
 */
const USUAL_TIMES = 2
const USUAL_QUANTILE = 0.25
/** Others that make the usual one, and how few are too few. */
const REMEMBERED = 16
const FEW = 3
/** What a neighbour may cost while too few are known: an honest one whose text is unlike ours costs a quarter (simulated). */
const HARM_AT_FIRST = 1.25
/**
 * A harmful neighbour is left out for this round only; found harmful again for four, then for sixteen. Each time that it does
 * no harm halves the next sentence. One in three looks at an honest one may therefore fail, and who lies one round in three
 * is out for good. (Twenty rounds at once divided honest swarms: who was muted went apart, and looked the more like a liar.)
 */
const LONGER = 4
const LONGEST_ROUNDS = 16
/**
 * A copy that has not moved for longer than this fades by itself, and is not looked at: it would be judged for its age (a
 * partition of twelve rounds made honest peers mute each other; simulator, seed 143).
 */
const FRESH_ROUNDS = 1
/**
 * What was clipped is looked at as it was before, up to so many times as large: shortened, a lie does less harm than can be
 * seen, and does it every round. Not more, for x must come back from it in float32.
 */
const MOST_MAGNIFIED = 10
/** Both looks see the same batches, so that few are enough for a difference of this size. */
const BATCHES = 2

/**
 * Clipping bounds how far a neighbour moves us; this asks whether it moves us for the worse. One neighbour a round is mixed
 * in after all others, with a look at the validation loss before and after, and before it everyone who was clipped. Where it does
 * harm another one is looked at, and so on: liars are seldom alone.
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

/** What is remembered of a neighbour. */
interface Standing {
  /** The round in which it was last looked at. */
  readonly triedAt: number
  /** For how many rounds it was left out the last time, halved for each time that it has done no harm since. */
  readonly sentence: number
  /** While it is muted: the first round in which it may be heard again. */
  readonly mutedUntil: number | undefined
}

const UNKNOWN: Standing = { triedAt: 0, sentence: 0, mutedUntil: undefined }

type Mixed = MixReport['mixedWith'][number]

export function createBenefitGuard(trainer: GuardedTrainer): BenefitGuard {
  /** Also of those who are away, or a liar who goes would come back with a clean slate. */
  const standings = new Map<string, Standing>()
  const remember = (peer: string, standing: Standing) => {
    keepLast(standings, LIMITS.copies, peer, standing)
  }
  /**
   * The muted one that gets its chance in this round. One at a time, and looked at before it counts, for those who lied
   * together were muted together, and would all be back at once.
   */
  let returning: string | undefined

  // An average that is dropped is lost, and no more; a neighbour may be muted for long.
  const [ofAverages, ofNeighbours] = [createUsual(HARM), createUsual(HARM_AT_FIRST)]

  /** Adds a part if a step, which is a larger one in its direction, does not harm. @returns whether it was added */
  const tryOut = async (
    peer: string,
    { part, step }: { part: Float32Array; step: Float32Array },
    usual: Usual,
  ): Promise<boolean> => {
    const without = await trainer.validationLoss(BATCHES)
    await trainer.addShared(step)
    const isHarmless = usual.accepts(peer, (await trainer.validationLoss(BATCHES)) / without)
    await trainer.addShared(isHarmless ? difference(part, step) : negated(step))
    return isHarmless
  }

  return {
    muted(round) {
      const out = [...standings].flatMap(([peer, { mutedUntil }]) =>
        mutedUntil === undefined ? [] : [{ peer, mutedUntil }],
      )
      const [first] = out.toSorted((a, b) => a.mutedUntil - b.mutedUntil)
      returning = first !== undefined && first.mutedUntil <= round ? first.peer : undefined
      return new Set(out.flatMap(({ peer }) => (peer === returning ? [] : [peer])))
    },

    async add(mixture, round) {
      const standing = (peer: string) => standings.get(peer) ?? UNKNOWN
      await trainer.addShared(mixture.increment)
      /** What is left of the mixture. */
      const added = mixture.increment.slice()
      const takeBack = async (part: Float32Array) => {
        await trainer.addShared(negated(part))
        for (let k = 0; k < part.length; k++) added[k]! -= part[k]!
      }
      // Farther off than is looked at: it has not changed, and once all others agree its lie is clipped to less than is seen.
      const isFar = (peer: string, clip: number) => peer === returning && clip < 1 / MOST_MAGNIFIED
      const visible = mixture.mixedWith.filter(
        ({ peer, ageRounds, clip }) => ageRounds <= FRESH_ROUNDS && !isFar(peer, clip),
      )
      const isSeen = visible.some(({ peer }) => peer === returning)
      if (returning !== undefined && !isSeen) {
        if (mixture.mixedWith.some(({ peer }) => peer === returning))
          await takeBack(mixture.contribution(returning))
        remember(returning, { ...standing(returning), mutedUntil: round + 1 }) // behind the others, who may be here
      }
      const harmful: string[] = []
      // Who had to be clipped first, the most clipped before the others: honest peers hardly ever have to be.
      const turn = ({ peer, clip }: Mixed) =>
        peer === returning ? -Infinity : clip < 1 ? clip - 1 : standing(peer).triedAt
      for (const { peer, weight, clip } of visible.toSorted((a, b) => turn(a) - turn(b))) {
        const part = mixture.contribution(peer)
        await takeBack(part)
        const share = Math.max(weight, HALF_WAY)
        const full = (share / weight) * unclipped(clip)
        const step = new Float32Array(part.length)
        for (let k = 0; k < part.length; k++) step[k] = full * part[k]! - share * added[k]!
        const { sentence } = standing(peer)
        if (await tryOut(peer, { part, step }, ofNeighbours)) {
          remember(peer, { triedAt: round, sentence: sentence / 2, mutedUntil: undefined })
          if (clip === 1) break
        } else {
          const longer = Math.min(Math.max(1, LONGER * sentence), LONGEST_ROUNDS)
          remember(peer, { triedAt: round, sentence: longer, mutedUntil: round + longer })
          harmful.push(peer)
        }
      }
      return harmful
    },

    async addAveraged({ peer, increment, clip }) {
      const step = increment.map((value) => unclipped(clip) * value)
      await tryOut(peer, { part: increment, step }, ofAverages)
    },
  }
}

/** What others of a kind make of the loss, and what one of them may therefore make of it: more than 1 is worse. */
interface Usual {
  /** Remembers what a peer costs now. @returns whether it may */
  accepts(peer: string, cost: number): boolean
}

/** @param atFirst - what may be while too few are known */
function createUsual(atFirst: number): Usual {
  /** The last cost of each, the newest at the end. */
  const costs = new Map<string, number>()
  const allowed = (): number => {
    if (costs.size < FEW) return atFirst
    const usual = Math.max(1, Math.floor(USUAL_QUANTILE * costs.size))
    const cost = [...costs.values()].toSorted((a, b) => a - b)[usual]!
    return Math.max(HARM, 1 + USUAL_TIMES * (cost - 1))
  }
  return {
    accepts(peer, cost) {
      const isUsual = Number.isFinite(cost) && cost <= allowed()
      // A loss that is no number any more is harm, too.
      keepLast(costs, REMEMBERED, peer, Number.isNaN(cost) ? Infinity : cost)
      return isUsual
    },
  }
}

/** By how much to lengthen what was clipped. */
const unclipped = (clip: number): number => 1 / Math.max(clip, 1 / MOST_MAGNIFIED)
