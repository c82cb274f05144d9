import type { PeerEvent } from '../events.ts'

export interface StopNote {
  /** To be told all events. */
  note(peer: string, event: PeerEvent): void
  /** What to say when `peers` were stopped; nothing when all had come to their end. */
  text(peers: number, goOn: string): string | undefined
}

const during = (round: number): string => (round === 0 ? 'in the first round' : `after round ${round}`)

/** How far peers are, for whoever stops them and wonders what is lost. */
export function createStopNote(): StopNote {
  const rounds = new Map<string, number>()
  const done = new Set<string>()
  return {
    note(peer, event) {
      if (event.event === 'start' || event.event === 'round') rounds.set(peer, event.round)
      if (event.event === 'result') done.add(peer)
    },
    text(peers, goOn) {
      if (done.size === peers) return undefined
      return `stopped ${rounds.size < peers ? 'before training began' : during(Math.min(...rounds.values()))}; ${goOn}`
    },
  }
}
