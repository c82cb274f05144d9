import type { Program } from './engine/engine.ts'
import { sweep, type TokenSet } from './data.ts'

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
): Promise<Evaluation> {
  const sums = set.groups.map(({ name }) => ({ name, nll: 0, tokens: 0 }))
  const scores: number[] = []
  const planned = set.groups.flatMap(({ from, to }, group) =>
    sweep(set.tokens.subarray(from, to), batch, context).map((make) => ({ group, make })),
  )
  for (const { group, make } of evenly(planned, maxBatches)) {
    const one = make()
    const { loss, scores: routed } = await program.run({
      tokens: one.tokens,
      targets: one.targets,
      weights: one.weights,
    })
    const sum = sums[group]!
    sum.nll += loss![0]!
    sum.tokens += one.count
    routed?.forEach((score, i) => (scores[i] = (scores[i] ?? 0) + score))
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
