import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { TextOutcome } from './text/text-service.ts'

/**
 * Everything that a peer measures, in one place: nothing else registers a metric. Names are listed in docs/METRICS.md, and
 * a test compares. Labels are bounded: splits, layers, kinds and reasons, never peer ids.
 */
export function createMetrics() {
  const registry = new Registry()
  const registers = [registry]
  const gauge = <T extends string = never>(name: string, help: string, labelNames: readonly T[] = []) =>
    new Gauge({ name, help, labelNames, registers })
  const counter = <T extends string = never>(name: string, help: string, labelNames: readonly T[] = []) =>
    new Counter({ name, help, labelNames, registers })
  return {
    registry,
    info: gauge('comigs_info', 'Always 1; labels describe the peer', [
      'name',
      'version',
      'engine',
      'engine_reason',
      'device',
      'federation',
      'strategy',
    ]),
    round: gauge('comigs_round', 'Rounds finished'),
    loss: gauge('comigs_loss_nats', 'Cross entropy per token, by split', ['split']),
    perplexity: gauge('comigs_perplexity', 'exp(loss), by split', ['split']),
    othersPerplexity: gauge(
      'comigs_others_perplexity',
      'Validation perplexity of the followed peers that publish theirs',
      ['quantile'],
    ),
    othersPublishing: gauge('comigs_others_publishing', 'Followed peers that publish theirs'),
    baseLoss: gauge('comigs_base_loss_nats', "The frozen base's cross entropy per token, by split", [
      'split',
    ]),
    learningRate: gauge('comigs_learning_rate', "The experts' learning rate at the last step"),
    tokens: counter('comigs_trained_tokens_total', 'Tokens trained on, by phase', ['phase']),
    tokensPerSecond: gauge('comigs_tokens_per_second', 'Training speed over the last round'),
    phaseSeconds: new Histogram({
      name: 'comigs_phase_seconds',
      help: 'Duration of the parts of a round',
      labelNames: ['phase'] as const,
      // From a mixing step on a small vector to a round on a large model.
      buckets: [0.01, 0.05, 0.25, 1, 5, 15, 60, 300],
      registers,
    }),
    routerShare: gauge('comigs_router_generalist_share', "The generalist's mean router weight, by layer", [
      'layer',
    ]),
    mixedPeers: gauge('comigs_mixed_peers', 'Peers mixed with in the last round'),
    leftOutPeers: gauge(
      'comigs_left_out_peers',
      'Followed peers not mixed with in the last round, by reason',
      ['reason'],
    ),
    mixedNeighbours: counter('comigs_neighbours_mixed_total', 'Neighbours mixed with, summed over rounds'),
    clippedNeighbours: counter(
      'comigs_neighbours_clipped_total',
      'Neighbours of these whose difference was clipped',
    ),
    harmfulNeighbours: counter(
      'comigs_neighbours_harmful_total',
      'Neighbours that the benefit guard took out of a mixture and muted',
    ),
    averagings: counter('comigs_averagings_total', 'Exchanges of x with a peer of another cell'),
    notAveraged: counter('comigs_rounds_not_averaged_total', 'Rounds without one, by reason', ['reason']),
    cellDepth: gauge(
      'comigs_cell_depth',
      'Times that the swarm was halved to get our cell; 0: all are in one',
    ),
    copyAge: gauge('comigs_copy_age_rounds', 'Age of the followed copies in own rounds', ['quantile']),
    consensusDistance: gauge('comigs_consensus_distance_ratio', '|x - m| / |m - init| before mixing'),
    epsilon: gauge(
      'comigs_privacy_epsilon',
      'Differential privacy spent so far, at delta 1e-5; 0 where the federation asks for none',
    ),
    connectedPeers: gauge('comigs_connected_peers', 'Peers with an open connection'),
    underWay: gauge(
      'comigs_under_way',
      "Authors' news being fetched, large answers being sent, places being dialled, now or later",
      ['what'],
    ),
    bytes: counter(
      'comigs_traffic_bytes_total',
      'Protocol bytes by kind and direction, without transport overhead',
      ['kind', 'direction'],
    ),
    refusals: counter('comigs_refusals_total', 'Things from peers that were not taken, by reason', [
      'reason',
    ]),
    httpRefusals: counter('comigs_http_refusals_total', 'HTTP requests refused, by reason', ['reason']),
    textRequests: counter('comigs_text_requests_total', 'Requests for text, by how they ended', ['outcome']),
    textTokens: counter('comigs_text_tokens_total', 'Tokens written for requests'),
    eventLoopLag: gauge(
      'comigs_event_loop_lag_seconds',
      '99th percentile of the event loop delay since the last scrape',
    ),
    residentMemory: gauge('comigs_resident_memory_bytes', 'Resident set size of the process'),
  }
}

export type Metrics = ReturnType<typeof createMetrics>

/** Counts requests for text. */
export const countTexts =
  ({ textRequests, textTokens }: Metrics) =>
  (outcome: TextOutcome, tokens: number): void => {
    textRequests.inc({ outcome })
    textTokens.inc(tokens)
  }
