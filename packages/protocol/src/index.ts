export {
  type Averaged,
  type Averaging,
  createAveraging,
  halfWay,
  type NotAveraged,
  shuffled,
  written,
} from './averaging.ts'
export { type Cell, findCell, LEAST_MEMBERS, mayBelong, MOST_MEMBERS, positionOf } from './cells.ts'
export { CODECS, type Codec, type CodecChoice, type CodecName, codecOf } from './codec/codec.ts'
export { safeGamma } from './codec/gamma.ts'
export { Directory } from './directory.ts'
export { isProtocolError, ProtocolError, type ProtocolErrorDetail } from './errors.ts'
export {
  createExchange,
  type Direction,
  type Exchange,
  type PeerAddresses,
  type PeersWanted,
  PROTOCOLS,
  type TrafficKind,
} from './exchange.ts'
export {
  announcementTopic,
  createGossip,
  type Gossip,
  type GossipEvents,
  LEFT_OUT_REASONS,
  type LeftOutReason,
  type MixReport,
  type RefusalReason,
} from './gossip.ts'
export { announcementPubsub, createGossipsubPubsub } from './libp2p/gossipsub-pubsub.ts'
export { keepLast } from './keep-last.ts'
export { createLibp2pWire, unreachable } from './libp2p/libp2p-wire.ts'
export { createSigner } from './libp2p/signer.ts'
export { LIMITS } from './limits.ts'
export {
  decodeManifest,
  encodeManifest,
  LARGEST_MOMENTUM,
  LARGEST_SHARE,
  LONGEST_NAME,
  type Manifest,
  manifestHash,
  parseManifest,
  PROTOCOL_VERSION,
  requireSameManifest,
  SMALLEST_MOMENTUM,
  SMALLEST_SHARE,
} from './manifest.ts'
export {
  added,
  consensusDistance,
  difference,
  distance,
  edgeWeight,
  mean,
  mixingIncrement,
  scaled,
} from './mixing.ts'
export { decodeOwnState, encodeOwnState, type OwnState } from './own-state.ts'
export { epsilonSpent, PRIVACY_DELTA, type Privacy, privatised } from './privacy.ts'
export { limitRequests } from './rate-limiter.ts'
export { Reputation } from './reputation.ts'
export type { Clock, Pubsub, Random, Signer, Verdict, Wire, WireStream } from './wire.ts'
