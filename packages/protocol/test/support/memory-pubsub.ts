import type { Pubsub, Verdict } from '../../src/wire.ts'

type Judge = (data: Uint8Array, from: string) => Promise<Verdict>

export interface Judgement {
  readonly at: string
  readonly author: string
  readonly verdict: Verdict
}

/**
 * Topics that flood: whoever accepts a message passes it on to its neighbours, once. Like gossipsub it asks the judge
 * before it relays, does not echo to the publisher, and says nothing about who got what.
 */
export class MemoryPubsub {
  readonly judgements: Judgement[] = []
  /** Messages that get lost on the way to a peer. */
  lost: (author: string, to: string) => boolean = () => false
  /** How a message gets from one peer to the next: when, and how often. */
  carry: (from: string, to: string, deliver: () => Promise<void>) => Promise<void> = (_from, _to, deliver) =>
    deliver()
  /** Whether every judgement is remembered. */
  readonly #remembers: boolean
  readonly #linked: (a: string, b: string) => boolean
  readonly #topics = new Map<string, Map<string, Judge>>()

  /** @param linked - whether two peers are neighbours */
  constructor(linked: (a: string, b: string) => boolean = () => true, remembers = true) {
    this.#linked = linked
    this.#remembers = remembers
  }

  endpoint(self: string): Pubsub {
    return {
      subscribe: (topic, judge) => {
        const subscribers = this.#topics.get(topic) ?? new Map<string, Judge>()
        this.#topics.set(topic, subscribers.set(self, judge))
      },
      unsubscribe: (topic) => void this.#topics.get(topic)?.delete(self),
      publish: async (topic, data) => void this.flood(topic, data.slice(), self),
    }
  }

  /** A peer is gone, without a word. */
  leave(self: string): void {
    for (const subscribers of this.#topics.values()) subscribers.delete(self)
  }

  /** Sends a message to everyone as if `author` had signed it. */
  async flood(topic: string, data: Uint8Array, author: string): Promise<void> {
    await this.#relay(topic, data, author, author, new Set([author]))
  }

  /** What one peer makes of a message that `author` signed. */
  async judge(topic: string, data: Uint8Array, author: string, at: string): Promise<Verdict> {
    const judge = this.#topics.get(topic)?.get(at)
    if (judge === undefined) throw new Error(`${at} has not subscribed to ${topic}`)
    const verdict = await judge(data.slice(), author)
    if (this.#remembers) this.judgements.push({ at, author, verdict })
    return verdict
  }

  async #relay(
    topic: string,
    data: Uint8Array,
    author: string,
    through: string,
    seen: Set<string>,
  ): Promise<void> {
    const next = [...(this.#topics.get(topic)?.keys() ?? [])].filter(
      (peer) => !seen.has(peer) && this.#linked(through, peer) && !this.lost(author, peer),
    )
    for (const peer of next) seen.add(peer)
    await Promise.all(
      next.map((peer) =>
        this.carry(through, peer, async () => {
          // It may have left while the message was on its way.
          if (this.#topics.get(topic)?.has(peer) !== true) return
          const verdict = await this.judge(topic, data, author, peer)
          if (verdict === 'accept') await this.#relay(topic, data, author, peer, seen)
        }),
      ),
    )
  }
}
