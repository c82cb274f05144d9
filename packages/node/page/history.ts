import type { PeerStatus, RoundEvent } from '../dist/events.js'

/** A peer as the page knows it: its latest status, and all rounds that were seen. */
export interface PeerView {
  readonly status: PeerStatus
  /** In order; older than what the peer itself remembers, when the page was open for long. */
  readonly rounds: readonly RoundEvent[]
}

/** More than a screen has columns. */
const MAX_ROUNDS = 5000

/** Gathers what the polls bring. Nothing is lost when a peer restarts: it goes on where it was. */
export interface History {
  merge(statuses: readonly PeerStatus[]): void
  readonly peers: readonly PeerView[]
  /** Rounds after this one are news. */
  readonly after: number
}

export function createHistory(): History {
  let peers: readonly PeerView[] = []
  return {
    merge(statuses) {
      const known = new Map(peers.map((peer) => [peer.status.name, peer]))
      peers = statuses.map((status) => merged(known.get(status.name), status))
    },
    get peers() {
      return peers
    },
    get after() {
      if (peers.length === 0) return 0
      return Math.min(...peers.map(({ rounds }) => rounds.at(-1)?.round ?? 0))
    },
  }
}

function merged(known: PeerView | undefined, status: PeerStatus): PeerView {
  const isSame =
    known !== undefined && (status.peerId ?? known.status.peerId) === (known.status.peerId ?? status.peerId)
  if (!isSame) return { status, rounds: status.rounds }
  const last = known.rounds.at(-1)?.round ?? 0
  const fresh = status.rounds.filter(({ round }) => round > last)
  return {
    status,
    rounds: fresh.length === 0 ? known.rounds : [...known.rounds, ...fresh].slice(-MAX_ROUNDS),
  }
}
