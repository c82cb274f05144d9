import type { RefusalReason } from './gossip.ts'
import { keepLast } from './keep-last.ts'
import type { Clock } from './wire.ts'

/**
 * What an offence costs, in the units of gossipsub's score: at -40 it stops gossiping with a peer, at -80 relaying what it
 * publishes, at -160 listening to it at all. What no honest peer does is dear; what also bad luck makes is cheap or free.
 */
const COST: Readonly<Record<RefusalReason, number>> = {
  'non-finite': 80,
  hash: 40,
  length: 40,
  signature: 40,
  malformed: 20,
  timeout: 2,
  rate: 2,
  old: 0,
  full: 0,
  stranger: 0,
  cell: 0,
  unreachable: 0,
  refused: 0,
  opposed: 0,
}

/** Where gossipsub stops listening to a peer (its graylist), we stop answering it. */
const CUT_OFF = -160
/** Forgiven by half in so long: hours for someone who goes on, minutes for a burst of bad luck. */
const HALF_LIFE_MS = 600_000
/** Peers that are remembered: the oldest offender goes first. */
const REMEMBERED = 1024

/** Our own opinion of each peer: 0 or less, added to gossipsub's. */
export class Reputation {
  readonly #clock: Clock
  readonly #scores = new Map<string, { readonly score: number; readonly at: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @returns whether this offence made it one too many */
  blame(peer: string, reason: RefusalReason): boolean {
    const before = this.score(peer)
    if (COST[reason] === 0) return false
    keepLast(this.#scores, REMEMBERED, peer, { score: before - COST[reason], at: this.#clock.now() })
    return before > CUT_OFF && this.isCutOff(peer)
  }

  score(peer: string): number {
    const known = this.#scores.get(peer)
    if (known === undefined) return 0
    return known.score * 0.5 ** ((this.#clock.now() - known.at) / HALF_LIFE_MS)
  }

  isCutOff(peer: string): boolean {
    return this.score(peer) <= CUT_OFF
  }
}
