import type { Random } from '@comigs/protocol'

/** What goes wrong, for how long; then it is made good again. */
export type Fault =
  | { readonly kind: 'kill'; readonly peer: string; readonly seconds: number }
  | { readonly kind: 'pause'; readonly peer: string; readonly seconds: number }
  | {
      readonly kind: 'partition'
      readonly groups: readonly (readonly string[])[]
      readonly seconds: number
    }
  | { readonly kind: 'reset'; readonly peer: string; readonly seconds: 0 }
  | { readonly kind: 'silence'; readonly peer: string; readonly seconds: 0 }

export type FaultKind = Fault['kind']

export interface Timed {
  readonly atSeconds: number
  readonly fault: Fault
}

/**
 * How long each lasts, in seconds. Below and above what decides in the protocol: 10 s without progress end a stream, 60 s
 * without a ping a connection.
 */
const LENGTHS = {
  kill: [1, 20],
  pause: [5, 40],
  partition: [10, 60],
  reset: [0, 0],
  silence: [0, 0],
} as const satisfies Record<FaultKind, readonly [number, number]>

/** Seconds from one fault to the next; they may overlap. */
const BETWEEN = [4, 14] as const

/** Who is never killed, so that memory can be watched over the whole run. */
const SPARED = 2

/**
 * Faults for so many seconds, all over by then. All kinds take turns in a random order, so that a short run has each of
 * them; nobody is killed or paused twice at a time, and there is one partition at a time.
 */
export function schedule(peers: readonly string[], seconds: number, random: Random): readonly Timed[] {
  const between = ([least, most]: readonly [number, number]) => least + random() * (most - least)
  const one = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!
  const timed: Timed[] = []
  const busyUntil = new Map<string, number>()
  let deck: FaultKind[] = []
  for (let at = between(BETWEEN) / 2; at < seconds; at += between(BETWEEN)) {
    if (deck.length === 0) deck = shuffled(Object.keys(LENGTHS) as FaultKind[], random)
    const kind = deck.shift()!
    const length = Math.min(between(LENGTHS[kind]), seconds - at)
    const isFree = (who: string) => (busyUntil.get(who) ?? 0) <= at
    const candidates = (kind === 'kill' ? peers.slice(SPARED) : peers).filter(isFree)
    if (kind === 'partition') {
      if (!isFree(kind)) continue
      busyUntil.set(kind, at + length)
      timed.push({ atSeconds: at, fault: { kind, groups: halves(peers, random), seconds: length } })
    } else if (candidates.length > 0) {
      const peer = one(candidates)
      if (kind === 'kill' || kind === 'pause') {
        busyUntil.set(peer, at + length)
        timed.push({ atSeconds: at, fault: { kind, peer, seconds: length } })
      } else timed.push({ atSeconds: at, fault: { kind, peer, seconds: 0 } })
    }
  }
  return timed
}

/** Two groups of any sizes from one. */
function halves(peers: readonly string[], random: Random): string[][] {
  const order = shuffled(peers, random)
  const size = 1 + Math.floor(random() * (peers.length - 1))
  return [order.slice(0, size), order.slice(size)]
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  return items
    .map((item) => ({ item, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item)
}
