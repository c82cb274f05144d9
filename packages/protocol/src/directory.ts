import { type Cell, commonBits, positionOf } from './cells.ts'
import { keepLast } from './keep-last.ts'
import type { Clock, Random } from './wire.ts'

export interface DirectoryEntry {
  readonly peer: string
  readonly position: string
  readonly addresses: readonly string[]
  /** When we, or whom we have it from, were last in touch with it; 0: not in this life. */
  readonly heardMs: number
}

/** Entries of one bucket: of the peers that agree with us in exactly so many bits. More than a cell, so that near ones fit. */
const BUCKET_SIZE = 24
/** Who was not heard of for so long counts as gone. */
const LIVE_MS = 120_000

/**
 * Peers that we know of and where they listen, in buckets by the bits that they have in common with us (Kademlia,
 * Maymounkov and Mazières 2002): everyone near, a sample of those far away. So it is small (24 log2 N), and asking ever
 * nearer peers leads to any place of the trie.
 */
export class Directory {
  readonly #clock: Clock
  readonly #random: Random
  readonly #self: string
  readonly #position: string
  readonly #buckets = new Map<number, Map<string, DirectoryEntry>>()
  /** When a connection to a peer was lost: what others heard before that is void. */
  readonly #lost = new Map<string, number>()

  constructor(init: { readonly self: string; readonly clock: Clock; readonly random: Random }) {
    this.#clock = init.clock
    this.#random = init.random
    this.#self = init.self
    this.#position = positionOf(init.self)
  }

  /** @param ageMs - how long ago; Infinity: in another life */
  heard(peer: string, addresses: readonly string[], ageMs = 0): void {
    if (peer === this.#self) return
    const known = this.get(peer)
    const position = known?.position ?? positionOf(peer)
    const before = known?.heardMs ?? 0
    const now = ageMs === Infinity ? 0 : this.#clock.now() - ageMs
    // What somebody heard before us must not bring an old address back, and with our time on it.
    const isNews = addresses.length > 0 && (now >= before || known?.addresses.length === 0)
    const bucket = this.#bucket(position)
    bucket.delete(peer) // to the end of the map's order
    bucket.set(peer, {
      peer,
      position,
      addresses: isNews ? addresses : (known?.addresses ?? []),
      heardMs: Math.max(before, now),
    })
    if (bucket.size > BUCKET_SIZE) bucket.delete(this.#leastOf(bucket))
  }

  lost(peer: string): void {
    keepLast(this.#lost, 4 * BUCKET_SIZE, peer, this.#clock.now())
  }

  get(peer: string): DirectoryEntry | undefined {
    return this.#buckets.get(commonBits(this.#position, positionOf(peer)))?.get(peer)
  }

  entries(): readonly DirectoryEntry[] {
    return [...this.#buckets.values()].flatMap((bucket) => [...bucket.values()])
  }

  live(): readonly DirectoryEntry[] {
    return this.entries().filter((entry) => this.#isLive(entry))
  }

  ageMs(entry: DirectoryEntry): number {
    return this.#clock.now() - entry.heardMs
  }

  /** Those alive who agree the longest with a place. */
  near(place: string, count: number): readonly DirectoryEntry[] {
    return this.live()
      .map((entry) => ({ entry, bits: commonBits(place, entry.position) }))
      .sort((a, b) => b.bits - a.bits)
      .slice(0, count)
      .map(({ entry }) => entry)
  }

  /** Random peers outside of a cell, drawn as if the whole swarm was known: half of it agrees with us in no bit. */
  outside(cell: Cell, count: number): readonly DirectoryEntry[] {
    const candidates = this.live().filter(({ position }) => !position.startsWith(cell))
    // Weighted sampling without replacement (Efraimidis and Spirakis 2006).
    return candidates
      .map((entry) => {
        const bits = commonBits(this.#position, entry.position)
        const weight = 2 ** -bits / this.#buckets.get(bits)!.size
        return { entry, key: -Math.log(1 - this.#random()) / weight }
      })
      .sort((a, b) => a.key - b.key)
      .slice(0, count)
      .map(({ entry }) => entry)
  }

  #isLive({ peer, heardMs }: DirectoryEntry): boolean {
    return heardMs > Math.max(this.#lost.get(peer) ?? 0, this.#clock.now() - LIVE_MS)
  }

  #bucket(position: string): Map<string, DirectoryEntry> {
    const bits = commonBits(this.#position, position)
    const bucket = this.#buckets.get(bits) ?? new Map<string, DirectoryEntry>()
    this.#buckets.set(bits, bucket)
    return bucket
  }

  /** One that is gone, else a random one, so that the sample of a large bucket does not stick to the first that came. */
  #leastOf(bucket: Map<string, DirectoryEntry>): string {
    const peers = [...bucket.values()]
    const gone = peers.find((entry) => !this.#isLive(entry))
    return (gone ?? peers[Math.floor(this.#random() * peers.length)]!).peer
  }
}
