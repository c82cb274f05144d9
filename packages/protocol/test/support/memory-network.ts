import { Uint8ArrayList } from 'uint8arraylist'
import { ProtocolError, type ReachStage } from '../../src/errors.ts'
import type { Wire, WireStream } from '../../src/wire.ts'

/** Bytes that a reader may leave unread before its writer has to wait, as in yamux. */
const WINDOW_BYTES = 262_144
/** A frame comes in several pieces, as in yamux. */
const PIECE_BYTES = 65_536

type Handler = (stream: WireStream, peer: string) => Promise<void>

export interface ConnectionWatcher {
  onOpen(peer: string, direction: 'inbound' | 'outbound'): void
  onClose(peer: string): void
}

/** Everyone who waits for something to change looks again when it did. */
class Changes {
  #waiting: (() => void)[] = []

  next(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  happened(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}

/** One direction between two peers. */
interface Link {
  stalled: boolean
  readonly changes: Changes
}

/** What befalls a stream: after so many bytes, in both directions together, nothing more comes. */
export interface Breakage {
  left: number
  /** Called when that is so: ends the connection, or leaves it at silence. */
  onBroken(): void
}

/** One direction of one stream. Data waits for the reader's window; end and reset follow it, when the link moves. */
class Channel {
  readonly #link: Link
  readonly #breakage: Breakage | undefined
  readonly #queue: Uint8Array[] = []
  readonly #changes = new Changes()
  #unread = 0
  #over: 'ended' | 'left' | Error | undefined

  constructor(link: Link, breakage: Breakage | undefined) {
    this.#link = link
    this.#breakage = breakage
  }

  async write(data: Uint8Array): Promise<void> {
    const breakage = this.#breakage
    const mustWait = () => this.#link.stalled || this.#unread >= WINDOW_BYTES || breakage?.left === 0
    for (let at = 0; at < data.byteLength;) {
      while (this.#writable && mustWait()) await this.#room()
      if (!this.#writable) return
      const piece = data.slice(at, at + Math.min(PIECE_BYTES, breakage?.left ?? PIECE_BYTES))
      at += piece.byteLength
      this.#unread += piece.byteLength
      if (this.#over === undefined) this.#queue.push(piece)
      this.#changes.happened()
      if (breakage === undefined) continue
      breakage.left -= piece.byteLength
      if (breakage.left === 0) breakage.onBroken()
    }
  }

  /** A reader that left does not tell: the window just stays full. */
  get #writable(): boolean {
    return this.#over === undefined || this.#over === 'left'
  }

  /** The writer is done; what it wrote can still be read. */
  async end(): Promise<void> {
    while (this.#link.stalled && this.#over === undefined) await this.#room()
    this.#finish('ended')
  }

  /** Local: takes effect at once, and unread bytes are lost. After the end it changes nothing. */
  fail(error: Error): void {
    if (this.#over === 'ended') return
    if (this.#over === 'left') this.#over = error
    this.#queue.length = 0
    this.#finish(error)
  }

  /** From the other side: arrives when the link moves. */
  async reset(error: Error): Promise<void> {
    while (this.#link.stalled && this.#over === undefined) await this.#room()
    this.fail(error)
  }

  async *read(): AsyncGenerator<Uint8ArrayList> {
    try {
      for (;;) {
        const piece = this.#queue.shift()
        if (piece !== undefined) {
          this.#unread -= piece.byteLength
          this.#changes.happened()
          yield new Uint8ArrayList(piece)
        } else if (this.#over instanceof Error) {
          throw this.#over
        } else if (this.#over !== undefined) {
          return
        } else {
          await this.#changes.next()
        }
      }
    } finally {
      this.leave()
    }
  }

  /** The reader is done. */
  leave(): void {
    this.#queue.length = 0
    this.#finish('left')
  }

  #finish(how: 'ended' | 'left' | Error): void {
    this.#over ??= how
    this.#changes.happened()
  }

  async #room(): Promise<void> {
    const changes = [this.#changes.next()]
    if (this.#link.stalled) changes.push(this.#link.changes.next())
    await Promise.race(changes)
  }
}

/** One side of a stream, with the half-close of libp2p 2: writing may end while reading goes on. */
class Side implements WireStream {
  readonly source: AsyncGenerator<Uint8ArrayList>
  readonly #incoming: Channel
  readonly #outgoing: Channel
  #sinking: AsyncIterator<Uint8Array> | Iterator<Uint8Array> | undefined
  #done = false

  constructor(incoming: Channel, outgoing: Channel) {
    this.#incoming = incoming
    this.#outgoing = outgoing
    this.source = incoming.read()
  }

  // Arrow functions, for it-pipe calls a sink without its stream.
  sink = async (source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> => {
    if (this.#sinking !== undefined) throw new Error('this stream is being written already')
    this.#sinking =
      Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
    try {
      while (!this.#done) {
        const next = await this.#sinking.next()
        if (next.done === true) break
        await this.#outgoing.write(next.value)
      }
    } catch (error) {
      this.abort(error as Error)
      throw error
    }
    void this.#outgoing.end()
  }

  close = async (): Promise<void> => {
    this.#stop()
    void this.#outgoing.end()
    this.#incoming.leave()
  }

  abort = (error: Error): void => {
    this.#stop()
    this.#incoming.fail(error)
    void this.#outgoing.reset(new Error('the stream was reset'))
  }

  #stop(): void {
    this.#done = true
    void Promise.resolve(this.#sinking?.return?.()).catch(() => undefined)
  }
}

/**
 * Peers in one process. Every two are linked and can be cut, or stalled in one direction; nothing depends on time except
 * what the peers themselves do.
 */
export class MemoryNetwork {
  /** What handlers threw: it must never reach anyone else. */
  readonly handlerErrors: unknown[] = []
  readonly #handlers = new Map<string, Map<string, Handler>>()
  readonly #links = new Map<string, Link>()
  readonly #streams = new Map<string, Set<Side>>()
  readonly #cut = new Set<string>()
  readonly #connected = new Map<string, Set<string>>()
  readonly #watchers = new Map<string, ConnectionWatcher>()
  /** Peers on two sides of a partition are not linked. */
  reachable: (a: string, b: string) => boolean = () => true
  /** How long it takes to open a stream, and how that will break; may throw what a dial throws. */
  opening: (from: string, to: string) => Promise<Breakage | undefined> = async () => undefined
  /** How many streams are being answered, by who answers. */
  readonly #serving = new Map<string, number>()

  wire(self: string): Wire {
    // Made anew where a peer comes back after it was killed.
    const handlers = () => entry(this.#handlers, self, () => new Map<string, Handler>())
    handlers()
    return {
      self,
      connected: () => [...(this.#connected.get(self) ?? [])].sort(),
      open: (peer, protocol, options) => this.#open(self, peer, protocol, options?.signal),
      handle: async (protocol, handler) => void handlers().set(protocol, handler),
      unhandle: async (protocol) => void handlers().delete(protocol),
    }
  }

  linked(a: string, b: string): boolean {
    return !this.#cut.has(pair(a, b)) && this.reachable(a, b)
  }

  connected(a: string, b: string): boolean {
    return this.#connected.get(a)?.has(b) === true
  }

  serving(peer: string): number {
    return this.#serving.get(peer) ?? 0
  }

  /** Tells about a peer's connections; undefined: no more. */
  watch(self: string, watcher: ConnectionWatcher | undefined): void {
    if (watcher === undefined) this.#watchers.delete(self)
    else this.#watchers.set(self, watcher)
  }

  async dial(self: string, peer: string): Promise<void> {
    await this.opening(self, peer)
    if (this.#handlers.get(peer) === undefined || !this.linked(self, peer)) {
      throw new ProtocolError({ code: 'PEER_UNREACHABLE', peer, stage: 'dial', reason: 'no route' })
    }
    this.#connect(self, peer)
  }

  /** Ends what is open between two peers. */
  hangUp(a: string, b: string): void {
    for (const side of this.#streams.get(pair(a, b)) ?? []) side.abort(new Error('the connection was lost'))
    this.#streams.delete(pair(a, b))
    if (this.#connected.get(a)?.delete(b) !== true) return
    this.#connected.get(b)?.delete(a)
    this.#watchers.get(a)?.onClose(b)
    this.#watchers.get(b)?.onClose(a)
  }

  /** Ends every connection that is not possible any more. */
  sever(): void {
    for (const [a, others] of this.#connected)
      for (const b of [...others]) if (!this.linked(a, b)) this.hangUp(a, b)
  }

  /** A process is killed: nobody there any more, no good-bye. */
  kill(self: string): void {
    this.#watchers.delete(self)
    for (const peer of [...(this.#connected.get(self) ?? [])]) this.hangUp(self, peer)
    this.#handlers.delete(self)
  }

  /** The connection is lost and cannot be made again until `mend`. */
  cut(a: string, b: string): void {
    this.#cut.add(pair(a, b))
    this.hangUp(a, b)
  }

  mend(a: string, b: string): void {
    this.#cut.delete(pair(a, b))
  }

  /** Nothing from one peer reaches the other any more, and nobody is told. */
  stall(from: string, to: string): void {
    this.#link(from, to).stalled = true
  }

  resume(from: string, to: string): void {
    const link = this.#link(from, to)
    link.stalled = false
    link.changes.happened()
  }

  async #open(self: string, peer: string, protocol: string, signal?: AbortSignal): Promise<WireStream> {
    const unreachable = (stage: ReachStage, reason: string) =>
      new ProtocolError({ code: 'PEER_UNREACHABLE', peer, stage, reason })
    const there = this.#link(self, peer)
    const back = this.#link(peer, self)
    while ((there.stalled || back.stalled) && signal?.aborted !== true) {
      const aborted = new Promise((resolve) => signal?.addEventListener('abort', resolve, { once: true }))
      await Promise.race([there.changes.next(), back.changes.next(), aborted])
    }
    const breakage = await this.opening(self, peer)
    if (signal?.aborted === true) throw unreachable('dial', 'aborted')
    const handlers = this.#handlers.get(peer)
    if (handlers === undefined || !this.linked(self, peer)) throw unreachable('dial', 'no route')
    const handler = handlers.get(protocol)
    if (handler === undefined) throw unreachable('protocol', `${protocol} is not spoken`)
    this.#connect(self, peer)
    const [request, response] = [new Channel(there, breakage), new Channel(back, breakage)]
    const ours = new Side(response, request)
    const theirs = new Side(request, response)
    const streams = entry(this.#streams, pair(self, peer), () => new Set<Side>())
    streams.add(ours).add(theirs)
    this.#serving.set(peer, this.serving(peer) + 1)
    void handler(theirs, self)
      .then(() => theirs.close())
      .catch((error: unknown) => {
        this.handlerErrors.push(error)
        theirs.abort(error instanceof Error ? error : new Error(String(error)))
      })
      .finally(() => {
        this.#serving.set(peer, this.serving(peer) - 1)
        streams.delete(ours)
        streams.delete(theirs)
      })
    return ours
  }

  #connect(self: string, peer: string): void {
    if (this.connected(self, peer)) return
    entry(this.#connected, self, () => new Set<string>()).add(peer)
    entry(this.#connected, peer, () => new Set<string>()).add(self)
    this.#watchers.get(self)?.onOpen(peer, 'outbound')
    this.#watchers.get(peer)?.onOpen(self, 'inbound')
  }

  #link(from: string, to: string): Link {
    const key = `${from} > ${to}`
    const link = this.#links.get(key) ?? { stalled: false, changes: new Changes() }
    this.#links.set(key, link)
    return link
  }
}

const pair = (a: string, b: string): string => [a, b].sort().join(' - ')

function entry<T>(map: Map<string, T>, key: string, make: () => T): T {
  const found = map.get(key) ?? make()
  map.set(key, found)
  return found
}
