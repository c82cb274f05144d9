import { describe, expect, it } from 'vitest'
import { eventData } from '../page/completions.ts'
import { number } from '../page/format.ts'
import { createHistory } from '../page/history.ts'
import { othersBand, reading } from '../page/line.ts'
import type { PeerStatus, RoundEvent } from '../src/events.ts'

/** What the page does without a browser; test/browser has the rest. */

const rounds = (from: number, to: number, loss = 1) =>
  Array.from({ length: to - from + 1 }, (_, k) => ({ round: from + k, trainLoss: loss }) as RoundEvent)

const status = (name: string, peerId: string | undefined, seen: readonly RoundEvent[]): PeerStatus => ({
  name,
  ...(peerId === undefined ? {} : { peerId }),
  version: '0',
  phase: 'training',
  refusals: {},
  rounds: seen,
})

const numbers = (one: { readonly rounds: readonly RoundEvent[] }) => one.rounds.map(({ round }) => round)

describe('what the page remembers', () => {
  it('asks for everything, then for what is new to the peer that is furthest behind', () => {
    const history = createHistory()
    expect(history.after).toBe(0)
    history.merge([status('a', 'A', rounds(1, 5)), status('b', 'B', rounds(1, 3))])
    expect(history.after).toBe(3)
    history.merge([status('a', 'A', rounds(4, 6)), status('b', 'B', rounds(4, 4))])
    expect(history.peers.map(numbers)).toEqual([
      [1, 2, 3, 4, 5, 6],
      [1, 2, 3, 4],
    ])
  })

  it('keeps what a peer told before it restarted, and a peer that starts', () => {
    const history = createHistory()
    history.merge([status('a', 'A', rounds(1, 3))])
    history.merge([status('a', undefined, [])])
    history.merge([status('a', 'A', rounds(5, 6))])
    expect(history.peers.map(numbers)).toEqual([[1, 2, 3, 5, 6]])
  })

  it('begins anew with another peer at the same place', () => {
    const history = createHistory()
    history.merge([status('a', 'A', rounds(1, 9))])
    history.merge([status('a', 'Z', [])])
    expect(history.after).toBe(0)
    history.merge([status('a', 'Z', rounds(1, 2))])
    expect(history.peers.map(numbers)).toEqual([[1, 2]])
  })

  it('is bounded', () => {
    const history = createHistory()
    history.merge([status('a', 'A', rounds(1, 4000))])
    history.merge([status('a', 'A', rounds(4001, 8000))])
    expect(history.peers[0]!.rounds).toHaveLength(5000)
    expect(history.after).toBe(8000)
  })
})

describe('what a chart says of a line', () => {
  const points = new Map([
    [2, 0],
    [5, 40],
    [7, 30],
  ])

  it('is its last value, or that of the last round before one that was looked at', () => {
    expect(reading({ points }, number)).toBe('30.0')
    expect([1, 2, 4, 5, 6, 9].map((round) => reading({ points }, number, round))).toEqual([
      undefined,
      '0.0',
      '0.0',
      '40.0',
      '40.0',
      '30.0',
    ])
    expect(reading({ points: new Map() }, number)).toBeUndefined()
  })

  it('is where a band goes from and to, unless that is the same', () => {
    const upTo = new Map([...points].map(([round, value]) => [round, Math.min(3 * value, 90.01)] as const))
    expect([5, 7].map((round) => reading({ points, upTo }, number, round))).toEqual([
      '40.0–90.0',
      '30.0–90.0',
    ])
    expect(reading({ points, upTo }, number, 3)).toBe('0.0')
    expect(reading({ points: new Map(), upTo: new Map() }, number)).toBeUndefined()
  })
})

it("makes a band of what others publish, in the rounds in which anybody does, with today's count", () => {
  const told = (round: number, ...[peers, least, most]: number[]) =>
    ({
      round,
      othersPerplexity: peers === undefined ? undefined : { peers, least, median: least, most },
    }) as RoundEvent
  const band = othersBand([told(1), told(2, 1, 90, 90), told(3), told(4, 3, 20, 70), told(5)])
  expect(band).toEqual({
    label: 'others that publish theirs (3)',
    points: new Map([
      [2, 90],
      [4, 20],
    ]),
    upTo: new Map([
      [2, 90],
      [4, 70],
    ]),
  })
  expect(othersBand([told(1)]).points.size).toBe(0)
})

describe('server-sent events', () => {
  const read = async (...chunks: (string | Uint8Array)[]) => {
    const encoder = new TextEncoder()
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const chunk of chunks)
          controller.enqueue(typeof chunk === 'string' ? encoder.encode(chunk) : chunk)
        controller.close()
      },
    })
    const found: string[] = []
    for await (const data of eventData(body)) found.push(data)
    return found
  }

  it('come out whole however they were cut', async () => {
    const text = 'data: {"text":"müde"}\n\ndata: zwei\n\n'
    const bytes = new TextEncoder().encode(text)
    for (let cut = 0; cut <= bytes.length; cut++)
      expect(await read(bytes.slice(0, cut), bytes.slice(cut))).toEqual(['{"text":"müde"}', 'zwei'])
  })

  it('are nothing without an end or without data', async () => {
    expect(await read('data: half')).toEqual([])
    expect(await read(': keep-alive\n\n', 'data: x\n\n')).toEqual(['x'])
  })
})
