import type { Uint8ArrayList } from 'uint8arraylist'

/** Bytes to and from one peer, as libp2p 2 and it-pipe have them. */
export interface Duplex {
  readonly source: AsyncIterable<Uint8Array | Uint8ArrayList>
  sink(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void>
}

export interface WireStream extends Duplex {
  close(): Promise<void>
  abort(error: Error): void
}

/**
 * Streams to peers: all that the protocol asks of a transport. libp2p in a peer (libp2p-wire.ts), memory in the
 * simulator. Moving to another libp2p line touches nothing else.
 */
export interface Wire {
  /** Our own peer id. */
  readonly self: string
  /** Peers with an open connection. */
  connected(): readonly string[]
  /** Opens a stream, dialling when an address is known. Throws ProtocolError `PEER_UNREACHABLE`. */
  open(
    peer: string,
    protocol: string,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<WireStream>
  /** Answers streams of a protocol. What the handler throws aborts the stream and nothing else. */
  handle(protocol: string, handler: (stream: WireStream, peer: string) => Promise<void>): Promise<void>
  unhandle(protocol: string): Promise<void>
}

/** accept: relay it. ignore: do not relay, do not blame. reject: no honest peer relays this; blame the sender. */
export type Verdict = 'accept' | 'ignore' | 'reject'

/** Small messages to everyone in a topic: all that the protocol asks of gossipsub. */
export interface Pubsub {
  /** `judge` decides before a message is relayed; it must not throw. `from` is who signed the message. */
  subscribe(topic: string, judge: (data: Uint8Array, from: string) => Promise<Verdict>): void
  unsubscribe(topic: string): void
  publish(topic: string, data: Uint8Array): Promise<void>
}

/** Time, handed in so that a simulator can turn it. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Resolves after `ms`; at once, without throwing, when the signal aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** Uniform in [0, 1). */
export type Random = () => number

/** Signs for this peer and verifies for any; Ed25519 in a peer. */
export interface Signer {
  sign(message: Uint8Array): Promise<Uint8Array>
  verify(author: string, message: Uint8Array, signature: Uint8Array): Promise<boolean> | boolean
}
