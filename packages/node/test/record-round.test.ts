import { LEFT_OUT_REASONS, type LeftOutReason } from '@comigs/protocol'
import { PassThrough } from 'node:stream'
import { pino } from 'pino'
import { describe, expect, it } from 'vitest'
import { createMetrics } from '../src/metrics.ts'
import { leftOutIn, recordRound } from '../src/record-round.ts'
import type { RoundReport } from '../src/round.ts'

type LeftOut = NonNullable<RoundReport['exchange']>['leftOut']

function roundOf(round: number, leftOut: LeftOut): RoundReport {
  return {
    round,
    experts: { steps: 1, loss: 2, tokens: 64, learningRate: 1e-3, routerScores: [] },
    routers: undefined,
    exchange: {
      increment: new Float32Array(),
      mixedWith: [],
      leftOut,
      contribution: () => new Float32Array(),
      consensusDistance: undefined,
      payloadBytes: 0,
      harmful: [],
      averagedWith: 0,
      notAveraged: 'busy',
    },
    validation: undefined,
    epsilon: undefined,
    seconds: { train: 1, publish: 0, collect: 0, total: 1 },
  }
}

/** Rounds as they are recorded: what is scraped and logged after the last. */
async function recorded(...rounds: readonly LeftOut[]) {
  const metrics = createMetrics()
  const lines = new PassThrough()
  const log = pino({ base: null, level: 'debug' }, lines)
  for (const [i, leftOut] of rounds.entries())
    recordRound(metrics, log, roundOf(i + 1, leftOut), { neighbours: () => [], perplexities: () => [] })
  lines.end()
  const text = (await lines.toArray()).join('')
  const logged = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  const scraped = (await metrics.registry.metrics()).split('\n')
  const counts = Object.fromEntries(
    scraped.flatMap((line) => {
      const [, reason, count] = /^comigs_left_out_peers\{reason="(.*)"\} (\d+)$/.exec(line) ?? []
      return reason === undefined ? [] : [[reason, Number(count)]]
    }),
  )
  return { logged, counts, scraped }
}

const only = (counts: Partial<Record<LeftOutReason, number>>) => ({
  ...Object.fromEntries(LEFT_OUT_REASONS.map((reason) => [reason, 0])),
  ...counts,
})

describe('a peer that a mixture left out', () => {
  it.each(LEFT_OUT_REASONS)('is a label and a line: %s', async (reason) => {
    const { counts, logged } = await recorded([{ peer: 'bob', reason }])
    expect(counts).toEqual(only({ [reason]: 1 }))
    expect(logged).toMatchObject([{ peer: 'bob', reason, round: 1, msg: 'left out of the mixture' }])
  })

  it('is counted by reason, in its round alone', async () => {
    const { counts, logged } = await recorded(
      [
        { peer: 'bob', reason: 'stale' },
        { peer: 'carol', reason: 'stale' },
        { peer: 'dave', reason: 'muted' },
      ],
      [{ peer: 'bob', reason: 'timeout' }],
    )
    expect(counts).toEqual(only({ timeout: 1 }))
    expect(logged.map(({ round, peer, reason }) => [round, peer, reason])).toEqual([
      [1, 'bob', 'stale'],
      [1, 'carol', 'stale'],
      [1, 'dave', 'muted'],
      [2, 'bob', 'timeout'],
    ])
  })
})

it("tells the range of others' perplexity and how many publish one, of the last round alone", async () => {
  const metrics = createMetrics()
  const after = async (...perplexities: number[]) => {
    const log = { debug: () => undefined }
    recordRound(metrics, log, roundOf(1, []), { neighbours: () => [], perplexities: () => perplexities })
    const lines = (await metrics.registry.metrics()).split('\n')
    return lines.filter((line) => line.startsWith('comigs_others_'))
  }
  expect(await after(20.5, 33, 48, 90)).toEqual([
    'comigs_others_perplexity{quantile="0"} 20.5',
    'comigs_others_perplexity{quantile="0.5"} 48',
    'comigs_others_perplexity{quantile="1"} 90',
    'comigs_others_publishing 4',
  ])
  expect(await after()).toEqual(['comigs_others_publishing 0'])
  expect(await after(7)).toEqual([
    'comigs_others_perplexity{quantile="0"} 7',
    'comigs_others_perplexity{quantile="0.5"} 7',
    'comigs_others_perplexity{quantile="1"} 7',
    'comigs_others_publishing 1',
  ])
})

it('counts by reason whom a round left out, and rounds without averaging', async () => {
  const leftOut: LeftOut = [
    { peer: 'bob', reason: 'stale' },
    { peer: 'carol', reason: 'hash' },
    { peer: 'dave', reason: 'stale' },
  ]
  expect(leftOutIn(roundOf(1, leftOut).exchange!)).toEqual({ stale: 2, hash: 1 })
  const { scraped } = await recorded(leftOut, leftOut)
  expect(scraped).toContain('comigs_rounds_not_averaged_total{reason="busy"} 2')
})
