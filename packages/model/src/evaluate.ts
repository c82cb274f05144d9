import type { Program } from './engine/engine.ts'
import { sweep, type TokenSet, type WeightedBatch } from './data.ts'

export interface Evaluation {
  /** Mean negative log-likelihood per token, in nats. */
  readonly loss: number
  /** exp(loss). */
  readonly perplexity: number
  readonly tokens: number
  /** The same for each group of the set. */
  readonly groups: readonly {
    readonly name: string
    readonly loss: number
    readonly perplexity: number
    readonly tokens: number
  }[]
  /** Mean router score per layer and expert, `[layers][n]`; empty without routers. */
  readonly routerScores: readonly (readonly number[])[]
}

export interface EvaluationShape {
  readonly batch: number
  readonly context: number
  readonly experts: number
}

/** Told after each batch how much is done, from 0 to 1. What it throws ends the evaluation. */
export type OnShare = (share: number) => void

/**
 * Perplexity over a set, every token a target once, windows of `context` side by side. Groups are swept one by one.
 * @param program - compiled from `evaluationStep`
 * @param maxBatches - evaluate only so many batches, spread evenly over the set. @default all
 */
export async function evaluate(
  program: Program,
  set: TokenSet,
  { batch, context, experts }: EvaluationShape,
  maxBatches = Infinity,
  onShare?: OnShare,
): Promise<Evaluation> {
  const measured: Measured[] = []
  const scores: number[] = []
  const batches = planned(set, batch, context, maxBatches)
  for (const [i, { group, make }] of batches.entries()) {
    const one = make()
    const { loss, scores: routed } = await program.run({
      tokens: one.tokens,
      targets: one.targets,
      weights: one.weights,
    })
    measured.push({ group, nll: loss![0]!, tokens: one.count })
    routed?.forEach((score, j) => (scores[j] = (scores[j] ?? 0) + score))
    onShare?.((i + 1) / batches.length)
  }
  return summary(set, measured, scores, experts)
}

/** Some text of a group, and the sum of its negative log-likelihoods. */
interface Measured {
  readonly group: number
  readonly nll: number
  readonly tokens: number
}

/**
 * The windows of `evaluate`, each by itself: the same ones for the same shape.
 * @param program - compiled from `evaluationStep` for a batch of one
 */
export async function windowLosses(
  program: Program,
  set: TokenSet,
  { batch, context }: Pick<EvaluationShape, 'batch' | 'context'>,
  maxBatches = Infinity,
  onShare?: OnShare,
): Promise<Measured[]> {
  const losses: Measured[] = []
  const batches = planned(set, batch, context, maxBatches)
  for (const [i, { group, make }] of batches.entries()) {
    const one = make()
    for (let from = 0; from < one.count; from += context) {
      const row = (values: Int32Array | Float32Array) => values.subarray(from, from + context)
      const { loss } = await program.run({
        tokens: row(one.tokens),
        targets: row(one.targets),
        weights: row(one.weights),
      })
      losses.push({ group, nll: loss![0]!, tokens: Math.min(context, one.count - from) })
    }
    onShare?.((i + 1) / batches.length)
  }
  return losses
}

/**
 * Several models as one that leaves it to the text which of them speaks: the next token has the mean of their
 * probabilities, each model weighted by the probability that it gave to the window so far (Bayesian model averaging, all
 * equally likely at first). By the chain rule a window then has the mean of the probabilities that the models give it:
 * with m models it costs at most ln m more nats than under the best of them, whichever that is.
 * @param losses - `windowLosses` of each model on this set
 */
export function evaluateTogether(set: TokenSet, losses: readonly (readonly Measured[])[]): Evaluation {
  const together = losses[0]!.map((window, i) => {
    const nlls = losses.map((ofModel) => ofModel[i]!.nll)
    const best = Math.min(...nlls)
    const likelihood = nlls.reduce((sum, nll) => sum + Math.exp(best - nll), 0) / nlls.length
    return { ...window, nll: best - Math.log(likelihood) }
  })
  return summary(set, together, [], 0)
}

/** Batches of each group, at most so many of all, spread evenly. */
function planned(
  set: TokenSet,
  batch: number,
  context: number,
  maxBatches: number,
): { group: number; make: () => WeightedBatch }[] {
  const all = set.groups.flatMap(({ from, to }, group) =>
    sweep(set.tokens.subarray(from, to), batch, context).map((make) => ({ group, make })),
  )
  return evenly(all, maxBatches)
}

function summary(
  set: TokenSet,
  parts: readonly Measured[],
  scores: readonly number[],
  experts: number,
): Evaluation {
  const sums = set.groups.map(({ name }) => ({ name, nll: 0, tokens: 0 }))
  for (const { group, nll, tokens } of parts) {
    sums[group]!.nll += nll
    sums[group]!.tokens += tokens
  }
  const measured = ({ nll, tokens }: { nll: number; tokens: number }) => ({
    loss: nll / tokens,
    perplexity: Math.exp(nll / tokens),
    tokens,
  })
  const total = { nll: 0, tokens: 0 }
  for (const { nll, tokens } of sums) {
    total.nll += nll
    total.tokens += tokens
  }
  return {
    ...measured(total),
    groups: sums.filter(({ tokens }) => tokens > 0).map((sum) => ({ name: sum.name, ...measured(sum) })),
    routerScores: rows(
      scores.map((score) => score / total.tokens),
      experts,
    ),
  }
}

/** At most `limit` elements, spread over the whole list. */
function evenly<T>(list: readonly T[], limit: number): T[] {
  if (list.length <= limit) return [...list]
  return Array.from({ length: limit }, (_, i) => list[Math.floor(((i + 0.5) * list.length) / limit)]!)
}

/** `[layers n]` -> `[layers][n]`. */
export function rows(flat: readonly number[], width: number): number[][] {
  if (width === 0) return []
  return Array.from({ length: flat.length / width }, (_, i) => flat.slice(i * width, (i + 1) * width))
}
