import { readSafetensors } from '@comigs/model'
import { distance, mean } from '@comigs/protocol'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Resident } from './resident.ts'

/** A peer's metrics at a time. */
export interface Sample {
  readonly peer: string
  readonly life: number
  readonly atMs: number
  readonly metrics: Readonly<Record<string, number>>
}

export interface Verdict {
  readonly peers: readonly Record<string, string | number>[]
  readonly swarm: Readonly<Record<string, unknown>>
  /** What was promised and not kept; empty: passed. */
  readonly failures: readonly string[]
}

/** A peer that runs finishes a round in a second or two, on a machine that has better things to do in ten. */
const LONGEST_GAP_SECONDS = 30
/** Of the last rounds, for a single one says little. */
export const RECENT_ROUNDS = 5
/** The first steps compile and fill what is kept. */
const WARM_UP_MS = 30_000
const FEWEST_SAMPLES = 9
/** What malloc and the garbage collector do by themselves, as seen in runs without faults. */
const GROWTH_MB = 30
/** From the mean, in units of what was learnt. Alone, peers end at about 1. */
const FARTHEST = 0.5

/** How far a peer was from the others lately; Infinity before it has met any. */
export function recentDistance({ rounds }: Resident): number {
  const distances = rounds.slice(-RECENT_ROUNDS).map((round) => round.consensusDistance ?? Infinity)
  return distances.length === 0 ? Infinity : median(distances)
}

export async function judge(seen: {
  readonly residents: readonly Resident[]
  /** Whether all met again in time, no farther apart than before the faults. */
  readonly healed: boolean
  readonly before: ReadonlyMap<string, number>
  readonly samples: readonly Sample[]
  readonly cells: ReadonlyMap<string, string | undefined>
  stateOf(name: string): string
}): Promise<Verdict> {
  const { residents, before, samples, cells } = seen
  const failures: string[] = seen.healed ? [] : ['the peers did not come together again in time']
  const vectors = new Map<string, Float32Array>()
  for (const { name } of residents) vectors.set(name, await generalist(seen.stateOf(name)))
  const centre = mean([...vectors.values()])
  const learnt = norm(centre)

  const peers = residents.map((one) => {
    const { name, rounds, lives, pauses } = one
    const last = rounds.at(-1)
    const gap = one.longestGapSeconds()
    const memory = memoryOf(name, samples)
    const worst = Math.max(...rounds.slice(RECENT_ROUNDS).map((round) => round.consensusDistance ?? 0))
    const apart = distance(vectors.get(name)!, centre) / learnt
    if (gap > LONGEST_GAP_SECONDS) failures.push(`${name} ran ${gap.toFixed(0)} s without finishing a round`)
    if (memory.growthMB > GROWTH_MB) failures.push(`${name} grew by ${memory.growthMB.toFixed(0)} MB`)
    if (apart > FARTHEST) failures.push(`${name} ended ${apart.toFixed(2)} from the mean of all`)
    for (const complaint of one.complaints()) failures.push(`${name} ${complaint}`)
    return {
      peer: name,
      cell: cells.get(name) ?? '?',
      rounds: last?.round ?? 0,
      kills: lives - 1,
      pauses,
      'longest gap, s': rounded(gap),
      'mixed with': last?.mixedWith ?? 0,
      'distance before': rounded(before.get(name)!, 3),
      worst: rounded(worst, 3),
      after: rounded(recentDistance(one), 3),
      'from the mean': rounded(apart, 3),
      'valid ppl': rounded(rounds.findLast(({ validPerplexity }) => validPerplexity)?.validPerplexity ?? NaN),
      averagings: total(name, 'comigs_averagings_total', samples),
      'memory, MB': memory.text,
    }
  })

  const byCell = grouped([...vectors], ([name]) => cells.get(name) ?? '?')
  const cellMeans = [...byCell.values()].map((members) => mean(members.map(([, x]) => x)))
  const betweenCells = Math.max(...cellMeans.map((each) => distance(each, centre) / learnt))
  if (byCell.size > 1) {
    for (const { peer, averagings } of peers)
      if (averagings === 0) failures.push(`${peer} never averaged with another cell`)
  }
  return {
    peers,
    swarm: {
      cells: Object.fromEntries([...byCell].map(([cell, members]) => [cell, members.length])),
      'means of cells from that of all, at most': rounded(betweenCells, 3),
      refusals: refusals(samples),
      warnings: summed(residents.map((one) => one.warnings())),
    },
    failures,
  }
}

/** Of the longest life: warm, and at its end. */
function memoryOf(name: string, samples: readonly Sample[]): { text: string; growthMB: number } {
  const lives = [
    ...grouped(
      samples.filter(({ peer }) => peer === name),
      ({ life }) => life,
    ).values(),
  ]
  const longest = lives
    .map((life) => life.filter(({ atMs }) => atMs > life[0]!.atMs + WARM_UP_MS))
    .sort((a, b) => b.length - a.length)[0]
  if (longest === undefined || longest.length < FEWEST_SAMPLES) return { text: 'too short', growthMB: 0 }
  const third = Math.floor(longest.length / 3)
  const megabytes = (some: readonly Sample[]) =>
    median(some.map(({ metrics }) => metrics['comigs_resident_memory_bytes']! / 1e6))
  const [from, to] = [megabytes(longest.slice(0, third)), megabytes(longest.slice(-third))]
  const minutes = (longest.at(-1)!.atMs - longest[0]!.atMs) / 60_000
  return { text: `${from.toFixed(0)} to ${to.toFixed(0)} in ${minutes.toFixed(1)} min`, growthMB: to - from }
}

/** A counter over all lives. */
function total(name: string, counter: string, samples: readonly Sample[]): number {
  const ofPeer = samples.filter(({ peer }) => peer === name)
  const lasts = new Map(ofPeer.map(({ life, metrics }) => [life, metrics[counter] ?? 0]))
  return [...lasts.values()].reduce((sum, value) => sum + value, 0)
}

function refusals(samples: readonly Sample[]): Record<string, number> {
  const names = new Set(samples.map(({ peer }) => peer))
  const series = new Set(samples.flatMap(({ metrics }) => Object.keys(metrics)))
  const counts: Record<string, number> = {}
  for (const one of series) {
    const reason = /^comigs_refusals_total\{reason="(.*)"\}$/.exec(one)?.[1]
    if (reason === undefined) continue
    counts[reason] = [...names].reduce((sum, name) => sum + total(name, one, samples), 0)
  }
  return counts
}

/** What the generalist and the attention have learnt, out of the last checkpoint: their B matrices, which begin at 0. */
async function generalist(state: string): Promise<Float32Array> {
  const path = join(state, 'checkpoint.safetensors')
  const file = readSafetensors(await readFile(path), path)
  const wanted = file.names.filter((name) => /^experts\/h\.\d+\.(attn|mlp\.experts\.0)\..*lora_B$/.test(name))
  return Float32Array.from(wanted.flatMap((name) => [...file.array(name).values]))
}

function summed(counts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const [key, count] of counts.flatMap((each) => Object.entries(each)))
    sums[key] = (sums[key] ?? 0) + count
  return sums
}

function grouped<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item])
  return groups
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1]!
}

const norm = (vector: Float32Array): number => distance(vector, new Float32Array(vector.length))

const rounded = (value: number, digits = 1): number => Number(value.toFixed(digits))
