/** Every bound on what another peer can make us hold, read or wait for. Documented in docs/PROTOCOL.md. */
export const LIMITS = {
  /** A gossiped announcement. Far above its 250 bytes, far below what gossipsub repeats cheaply. */
  announcementBytes: 2048,
  /** A perplexity that somebody publishes. Guessing among the largest vocabularies is a thousandth of it. */
  perplexity: 1_000_000_000,
  /** A manifest as JSON. */
  manifestBytes: 16_384,
  /** A request on a stream. */
  requestBytes: 256,
  /** The header of an answer; the largest is a list of copies. */
  answerBytes: 64 * (2048 + 16),
  /** One frame of a payload: small enough to verify and time piecewise, large enough that framing is free. */
  frameBytes: 262_144,
  /** Shared parameters of a federation: 256 MB in float32. */
  parameters: 64_000_000,
  /** Copies that a peer keeps, and lists to a joiner. A cell splits long before (15 members). */
  copies: 64,
  /** Addresses of one peer, and peers in one answer, that peer exchange takes. */
  exchangedPeers: 32,
  exchangedAddresses: 8,
  addressBytes: 256,
  /** A stream that moves nothing for so long is given up. */
  progressTimeoutMs: 10_000,
  /** Fewer bytes than these in so long, 13 kbit a second, are next to nothing. */
  progressBytes: 16_384,
  /** So often it may be next to nothing: messages are short, and links have bad moments. */
  leanTimeouts: 3,
  /** As slowly as this a payload or a copy may pass: whoever sends it holds a place for uploads meanwhile. */
  bodyMs: 3_600_000,
  /** As slowly as this an averaging may pass: x has moved on meanwhile, and nobody else is served. */
  averagingMs: 600_000,
  /** An asker whose averaging was given up waits so long for the next: others come first. */
  averagingPauseMs: 600_000,
  /** Dialling a peer and agreeing on a protocol. */
  openTimeoutMs: 10_000,
  /** Streams of one protocol that one peer may hold open towards us, and we towards it. */
  inboundStreams: 4,
  outboundStreams: 8,
  /** Uploads of payloads and copies at a time, and of these to one peer: nobody can take all places. */
  uploads: 8,
  uploadsPerPeer: 3,
  /** What one peer may draw: as much as all copies that we can hold, then one copy's bytes in so long. A round needs a delta. */
  copyIntervalMs: 1000,
  /** Requests of one peer over all protocols: a burst, then one every so often. A round needs one or two. */
  requestBurst: 128,
  requestIntervalMs: 50,
  /** Announcements of one author: a burst, then one every so often. Rounds take seconds. */
  announcementBurst: 32,
  announcementIntervalMs: 100,
} as const
