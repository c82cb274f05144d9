import { type Gossip, LEFT_OUT_REASONS, type LeftOutReason, type MixReport } from '@comigs/protocol'
import type { Logger } from 'pino'
import type { PerplexityRange } from './events.ts'
import type { Metrics } from './metrics.ts'
import type { RoundReport } from './round.ts'

/** What a round was like, in metrics; whom it left out and why, in the log as well. */
export function recordRound(
  metrics: Metrics,
  log: Pick<Logger, 'debug'>,
  report: RoundReport,
  gossip: Pick<Gossip, 'neighbours' | 'perplexities'>,
): void {
  const { experts, routers, exchange, validation, seconds } = report
  metrics.round.set(report.round)
  metrics.loss.set({ split: 'train' }, experts.loss)
  metrics.perplexity.set({ split: 'train' }, Math.exp(experts.loss))
  metrics.learningRate.set(experts.learningRate)
  metrics.tokens.inc({ phase: 'experts' }, experts.tokens)
  metrics.tokensPerSecond.set(experts.tokens / seconds.train)
  metrics.phaseSeconds.observe({ phase: 'train' }, seconds.train)
  metrics.phaseSeconds.observe({ phase: 'publish' }, seconds.publish)
  metrics.phaseSeconds.observe({ phase: 'collect' }, seconds.collect)
  experts.routerScores.forEach((scores, layer) => {
    metrics.routerShare.set({ layer: String(layer) }, scores[0]!)
  })
  if (routers !== undefined) metrics.tokens.inc({ phase: 'routers' }, routers.tokens)
  if (validation !== undefined) {
    metrics.loss.set({ split: 'valid' }, validation.loss)
    metrics.perplexity.set({ split: 'valid' }, validation.perplexity)
  }
  if (report.epsilon !== undefined) metrics.epsilon.set(report.epsilon)
  if (exchange !== undefined) {
    metrics.mixedPeers.set(exchange.mixedWith.length)
    for (const reason of LEFT_OUT_REASONS) metrics.leftOutPeers.set({ reason }, 0)
    for (const { peer, reason } of exchange.leftOut) {
      metrics.leftOutPeers.inc({ reason })
      log.debug({ peer, reason, round: report.round }, 'left out of the mixture')
    }
    metrics.averagings.inc(exchange.averagedWith)
    if (exchange.notAveraged !== undefined) metrics.notAveraged.inc({ reason: exchange.notAveraged })
    metrics.mixedNeighbours.inc(exchange.mixedWith.length)
    metrics.clippedNeighbours.inc(clippedIn(exchange))
    metrics.harmfulNeighbours.inc(exchange.harmful.length)
    if (exchange.consensusDistance !== undefined) metrics.consensusDistance.set(exchange.consensusDistance)
  }
  const ages = gossip.neighbours().map(({ ageRounds }) => ageRounds)
  if (ages.length > 0) {
    const sorted = ages.sort((a, b) => a - b)
    metrics.copyAge.set({ quantile: '0.5' }, sorted[sorted.length >> 1]!)
    metrics.copyAge.set({ quantile: '1' }, sorted.at(-1)!)
  }
  const others = othersPerplexity(gossip)
  metrics.othersPublishing.set(others?.peers ?? 0)
  metrics.othersPerplexity.reset()
  if (others !== undefined) {
    metrics.othersPerplexity.set({ quantile: '0' }, others.least)
    metrics.othersPerplexity.set({ quantile: '0.5' }, others.median)
    metrics.othersPerplexity.set({ quantile: '1' }, others.most)
  }
}

export function othersPerplexity(gossip: Pick<Gossip, 'perplexities'>): PerplexityRange | undefined {
  const sorted = gossip.perplexities()
  if (sorted.length === 0) return undefined
  const median = sorted[sorted.length >> 1]!
  return { peers: sorted.length, least: sorted[0]!, median, most: sorted.at(-1)! }
}

/** How many peers were left out for each reason that there was. */
export function leftOutIn({ leftOut }: MixReport): Partial<Record<LeftOutReason, number>> {
  const counts: Partial<Record<LeftOutReason, number>> = {}
  for (const { reason } of leftOut) counts[reason] = (counts[reason] ?? 0) + 1
  return counts
}

export const clippedIn = ({ mixedWith }: MixReport): number => mixedWith.filter(({ clip }) => clip < 1).length
