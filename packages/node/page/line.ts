import type { RoundEvent } from '../dist/events.js'
import { count, range } from './format.ts'

export interface Line {
  readonly label: string
  readonly colour: string
  readonly isDashed?: boolean
  /** By round. */
  readonly points: ReadonlyMap<number, number>
  /** Makes of the line a band: how far up it goes from `points`, in the same rounds. */
  readonly upTo?: ReadonlyMap<number, number>
}

export function pointsOf(
  rounds: readonly RoundEvent[],
  value: (round: RoundEvent) => number | undefined,
): Map<number, number> {
  return new Map(
    rounds.flatMap((one) => {
      const y = value(one)
      return y === undefined ? [] : [[one.round, y] as const]
    }),
  )
}

/** From the least to the most of what others publish, in the rounds in which anybody did. */
export function othersBand(rounds: readonly RoundEvent[]) {
  const last = rounds.findLast(({ othersPerplexity }) => othersPerplexity !== undefined)
  return {
    label: `others that publish theirs (${count(last?.othersPerplexity?.peers ?? 0)})`,
    points: pointsOf(rounds, ({ othersPerplexity }) => othersPerplexity?.least),
    upTo: pointsOf(rounds, ({ othersPerplexity }) => othersPerplexity?.most),
  } satisfies Partial<Line>
}

/**
 * A line's value as text, of a band from where to where.
 * @param round - undefined: the last one
 * @returns undefined before the first
 */
export function reading(
  { points, upTo = points }: Pick<Line, 'points' | 'upTo'>,
  format: (value: number) => string,
  round = Infinity,
): string | undefined {
  const [low, high] = [nearest(points, round), nearest(upTo, round)]
  return low === undefined || high === undefined ? undefined : range(format(low), format(high))
}

/** Not every round is looked at: the value of the last one that was. */
function nearest(points: ReadonlyMap<number, number>, round: number): number | undefined {
  let found: number | undefined
  for (const [at, value] of points) if (at <= round) found = value
  return found
}
