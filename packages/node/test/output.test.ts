import { stripVTControlCharacters } from 'node:util'
import { describe, expect, it } from 'vitest'
import {
  hanging,
  type Invited,
  invitation,
  lineWithin,
  logLine,
  progressLine,
  roundLine,
  tableWithin,
} from '../src/cli/output.ts'
import { findingLines } from '../src/cli/doctor-command.ts'
import { runLine } from '../src/cli/experiment-command.ts'
import { pretrainLine } from '../src/cli/pretrain-command.ts'
import { liveTable, nextSteps, progressOf, resultTable } from '../src/cli/swarm-command.ts'
import type { RoundEvent } from '../src/events.ts'
import type { PeerResult } from '../src/swarm/swarm.ts'

const linesOf = (text: string) => stripVTControlCharacters(text).split('\n')
const widthOf = (text: string) => Math.max(...linesOf(text).map((line) => line.length))
/** Two lines of heads, read as one. */
const headsOf = (text: string) => {
  const [above, below] = linesOf(text)
    .slice(1, 3)
    .map((line) => line.split('│').slice(1, -1))
  return above!.map((head, column) => `${head.trim()} ${below![column]!.trim()}`.trim())
}

const cells = {
  peer: 'de-2',
  '': 'training',
  round: '1000',
  'train loss': '10.950',
  'valid loss': '10.505',
  perplexity: '36316',
  'mixed with': '15',
  distance: '0.460',
  'tokens/s': '1,541',
  sent: '981.2 MB',
  received: '981.2 MB',
}
const result = {
  name: 'de-2',
  basePerplexity: 36316,
  perplexity: 172,
  baseOwnPerplexity: 803,
  ownPerplexity: 104,
  mixedWith: 15,
  bytesSent: 981.2e6,
  consensusDistance: 0.01,
} as PeerResult

describe('tables of a swarm', () => {
  it('shows everything where there is room, as in a file', () => {
    expect(headsOf(liveTable([cells], Infinity))).toEqual(Object.keys(cells))
    expect(headsOf(resultTable([result], Infinity))).toHaveLength(8)
  })

  it('leaves out what matters least in 80 columns', () => {
    const live = liveTable([cells, { peer: 'fr', '': 'starting' }], 80)
    expect(widthOf(live)).toBeLessThanOrEqual(80)
    expect(headsOf(live)).toEqual(
      Object.keys(cells).filter((head) => !['valid loss', 'tokens/s', 'received'].includes(head)),
    )
    expect(widthOf(resultTable([result], 80))).toBeLessThanOrEqual(80)
    expect(headsOf(resultTable([result], 80))).toEqual(headsOf(resultTable([result], Infinity)))
  })

  it.each([100, 60, 50])('fits %i columns', (width) => {
    expect(widthOf(liveTable([cells], width))).toBeLessThanOrEqual(width)
    expect(widthOf(resultTable([result], width))).toBeLessThanOrEqual(width)
  })

  it('keeps what is not expendable, however narrow', () => {
    const table = tableWithin(5, ['a', 'b', 'c'], ['b'], [{ a: '1', b: '2', c: '3' }])
    expect(linesOf(table)[1]).toBe('│ a │ c │')
  })
})

describe('the bar of a swarm', () => {
  const progress = (...peers: Parameters<typeof progressOf>[0]) =>
    stripVTControlCharacters(progressOf(peers, 24))
  const after = (round: string, tested?: number) => ({ cells: { round }, tested })

  it('is that of the peer that is furthest', () => {
    expect(progress()).toMatch(/^░{30} round 0 of 24$/)
    expect(progress(after('12'), after('6'))).toMatch(/^█{15}░{15} round 12 of 24$/)
  })

  it('then is of the test, as far as all are', () => {
    expect(progress(after('24', 0), after('23'))).toMatch(/^░{30} testing 0 %$/)
    expect(progress(after('24', 1), after('24', 0.2))).toMatch(/^█{18}░{12} testing 60 %$/)
  })
})

describe('a line of a round', () => {
  const round = {
    round: 12345,
    trainLoss: 10.95,
    validPerplexity: 36316,
    mixedWith: 15,
    consensusDistance: 0.46,
    tokensPerSecond: 1541,
    bytes: { sent: 981.2e6, received: 981.2e6 },
  } as RoundEvent

  it('has everything where there is room', () => {
    expect(roundLine(round, Infinity)).toMatch(
      / distance 0\.460 {2}1,541 tok\/s {2}981\.2 MB out 981\.2 MB in$/,
    )
  })

  it('ends with the distance in 80 columns', () => {
    const line = roundLine(round, 80)
    expect(line.length).toBeLessThanOrEqual(80)
    expect(line).toMatch(/^round 12345 .* mixed with 15 {2}distance 0\.460$/)
  })

  it('has room for the speed where there is no distance', () => {
    const alone = roundLine({ ...round, mixedWith: 0, consensusDistance: undefined }, 80)
    expect(alone.length).toBeLessThanOrEqual(80)
    expect(alone).toMatch(/tok\/s$/)
  })
})

describe('a line of an experiment', () => {
  const run = {
    finished: 10,
    of: 10,
    dataSet: 'multilingual-cc0',
    target: 'mixture',
    strategy: 'comigs-1gxs-reversed',
    seed: 42,
    users: [
      { own: 600, mixture: 500 },
      { own: 700, mixture: 700 },
    ],
    seconds: 133,
    reused: false,
  } as unknown as Parameters<typeof runLine>[0]

  it('has everything where there is room', () => {
    expect(runLine(run, Infinity)).toBe(
      '[10/10] comigs-1gxs-reversed, multilingual-cc0  own 650  mixture 600  133 s  seed 42  target mixture',
    )
    expect(runLine({ ...run, reused: true }, Infinity)).toContain('  from an earlier run  ')
  })

  it('ends with the time in 80 columns', () => {
    expect(runLine(run, 80)).toMatch(/mixture 600 {2}133 s$/)
    expect(runLine(run, 80).length).toBeLessThanOrEqual(80)
  })
})

describe('a line of pretraining', () => {
  const line = { step: 100000, loss: 12.3456, rate: 0.0000375, tokensPerSecond: 123456 }
  const looked = { ...line, validLoss: 12.3456, bitsPerByte: 12.3456 }

  it('has everything where there is room', () => {
    expect(pretrainLine(line, Infinity)).toBe('step 100000  loss 12.346  123,456 tok/s  rate 0.0000375')
    expect(pretrainLine(looked, Infinity)).toMatch(/ valid loss 12\.346 {2}12\.346 bits a byte {2}rate /)
  })

  it('ends with the bits in 80 columns', () => {
    expect(pretrainLine(looked, 80)).toMatch(/bits a byte$/)
    expect(pretrainLine(looked, 80).length).toBeLessThanOrEqual(80)
  })
})

it('a finding of the doctor, and its advice, go on below themselves', () => {
  const found = '36,316,172 tokens to learn from, 3,631,617 to validate, 3,631,617 to test'
  const advice = 'that is little text: a round sees all of it; give more with --data'
  const lines = linesOf(findingLines({ check: 'data', status: 'warn', found, advice }, 80).join('\n'))
  expect(lines).toEqual([
    'warn  data          36,316,172 tokens to learn from, 3,631,617 to validate,',
    '                    3,631,617 to test',
    '                    that is little text: a round sees all of it; give more with',
    '                    --data',
  ])
})

describe('what is too long for a line', () => {
  it('goes on below where it began, with no word divided', () => {
    expect(hanging(4, 'one two three', Infinity)).toBe('one two three')
    const text = 'a peer learns from the text that its person has written, and from no other'
    const lines = hanging(12, text, 60).split('\n')
    expect(lines[0]).toBe('a peer learns from the text that its person has')
    expect(lines.slice(1)).toEqual([`${' '.repeat(12)}written, and from no other`])
  })

  it('is left out part by part, but for the first', () => {
    expect(lineWithin(9, ['one', '', 'two', 'three'])).toBe('one  two')
    expect(lineWithin(2, ['one', 'two'])).toBe('one')
  })
})

describe('what a child logs', () => {
  const line = '{"level":40,"time":0,"code":"X","msg":"no"}'

  it('stays as it is where stderr is no terminal', () => {
    expect(logLine('de', line, false)).toBe(`[de] ${line}`)
  })

  it('is one line for people on a terminal, JSON or not', () => {
    expect(stripVTControlCharacters(logLine('de', line, true))).toMatch(
      /^\[de\] \[.*\] WARN: no {"code":"X"}$/,
    )
    expect(logLine('de', 'Killed', true)).toBe('[de] Killed')
  })
})

it('what comes next is told within 80 columns', () => {
  const state = '.comigs/swarm-2026-11-26-04-15-00/nl-2'
  const steps = nextSteps([{ ...result, state }])
  expect(widthOf(steps)).toBeLessThanOrEqual(80)
  expect(steps).toContain(`--state ${state}`)
})

describe('a line of progress', () => {
  it('is a bar where the end is known, and a clock where not', () => {
    expect(progressLine({ doing: 'loading', what: 'engine and base' }, 3.9, 80)).toBe(
      'loading     engine and base, 3 s',
    )
    const half = { doing: 'tokenising', what: 'of 100,000,000 characters', share: 0.5 }
    expect(progressLine(half, 61, 80)).toBe(
      'tokenising  ############............ 50 % of 100,000,000 characters, 61 s',
    )
  })

  it('is no wider than the terminal', () => {
    const done = { doing: 'tokenising', what: 'of 100,000,000 characters', share: 1 }
    expect(widthOf(progressLine(done, 4000, 80))).toBeLessThanOrEqual(80)
    expect(progressLine(done, 4000, 30)).toHaveLength(30)
    expect(progressLine(done, 4000, 60)).toMatch(/ 100 % of \d+,\d+, 4000 s$/)
  })
})

describe('what others type to join', () => {
  const here = '/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWAnna'
  const seen = '/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWAnna'
  const federation = 'c0f17946c3f2f712'.padEnd(64, '0')
  const plain = { base: undefined, isPrivate: false, mdns: false }
  const lines = (addresses: readonly string[], more: Partial<Invited> = {}) =>
    invitation(addresses, federation, { ...plain, ...more })

  it('has an address that others can dial, if there is one', () => {
    expect(lines([here, seen])).toEqual([
      `to join     npx comigs-peer --bootstrap ${seen} --data <your text>`,
    ])
    expect(lines([here])[0]).toContain(`--bootstrap ${here} --data`)
    expect(lines([])[0]).toContain('listens nowhere')
  })

  it('names a base that they do not have, and that a key is needed', () => {
    expect(lines([seen], { base: 'some/model' })[0]).toContain(`${seen} --base some/model --data`)
    expect(lines([seen], { isPrivate: true })[0]).toContain(`${seen} --psk <the same key> --data`)
  })

  it('needs no address in the local network, but the federation', () => {
    expect(lines([seen], { isPrivate: true, mdns: true })).toEqual([
      `to join     npx comigs-peer --bootstrap ${seen} --psk <the same key> --data <your text>`,
      'or nearby   npx comigs-peer --mdns --federation c0f17946c3f2f712 --psk <the same key> --data <your text>',
    ])
  })
})
