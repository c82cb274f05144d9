import type { Connection, Libp2p, PeerId, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { ProtocolError, type ReachStage } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { Wire, WireStream } from '../wire.ts'

type Libp2pParts = Pick<Libp2p, 'peerId' | 'getPeers' | 'dial' | 'handle' | 'unhandle'>

/** Streams over libp2p 2. The only module that knows libp2p's streams. */
export function createLibp2pWire(libp2p: Libp2pParts): Wire {
  return {
    self: libp2p.peerId.toString(),
    connected: () => libp2p.getPeers().map(String),

    async open(peer, protocol, options = {}) {
      try {
        const signal = options.signal ?? AbortSignal.timeout(LIMITS.openTimeoutMs)
        const connection = await libp2p.dial(peerId(peer), { signal })
        // This line of libp2p does not compare: whoever answers at a peer's address is taken for that peer.
        if (connection.remotePeer.toString() !== peer) {
          const reason = `${connection.remotePeer.toString()} answered at its address`
          throw new ProtocolError({ code: 'PEER_UNREACHABLE', peer, stage: 'handshake', reason })
        }
        return wrapped(
          await connection.newStream(protocol, { signal, maxOutboundStreams: LIMITS.outboundStreams }),
        )
      } catch (error) {
        throw unreachable(peer, error)
      }
    },

    async handle(protocol, handler) {
      await libp2p.handle(
        protocol,
        ({ stream, connection }: { stream: Stream; connection: Connection }) => {
          // Handlers of libp2p 2 are synchronous: nothing may escape.
          handler(wrapped(stream), connection.remotePeer.toString())
            .then(() => stream.close())
            .catch((error: unknown) => {
              stream.abort(error instanceof Error ? error : new Error(String(error)))
            })
        },
        { maxInboundStreams: LIMITS.inboundStreams, maxOutboundStreams: LIMITS.outboundStreams, force: true },
      )
    },

    unhandle: (protocol) => libp2p.unhandle(protocol),
  }
}

function wrapped(stream: Stream): WireStream {
  return {
    source: stream.source,
    sink: (source) => stream.sink(source),
    close: () => stream.close(),
    abort: (error) => {
      stream.abort(error)
    },
  }
}

function peerId(peer: string): PeerId {
  try {
    return peerIdFromString(peer)
  } catch (error) {
    throw new ProtocolError(
      { code: 'PEER_UNREACHABLE', peer, stage: 'dial', reason: 'not a peer id' },
      { cause: error },
    )
  }
}

/** libp2p's error in our words: where it failed, and why. */
export function unreachable(peer: string, error: unknown): ProtocolError {
  if (error instanceof ProtocolError) return error
  const { stage, reason } = diagnose(error)
  return new ProtocolError({ code: 'PEER_UNREACHABLE', peer, stage, reason }, { cause: error })
}

function diagnose(error: unknown): { stage: ReachStage; reason: string } {
  if (!(error instanceof Error)) return { stage: 'dial', reason: String(error) }
  // A dial of several addresses fails with all their reasons; the last is the most telling.
  const inner: unknown = error instanceof AggregateError ? error.errors.at(-1) : undefined
  const { name, message } = inner instanceof Error ? inner : error
  const protocol = ['UnsupportedProtocolError', 'ProtocolError']
  const handshake = [
    'EncryptionFailedError',
    'ConnectionInterceptedError',
    'InvalidCryptoExchangeError',
    'UnexpectedPeerError',
    'MuxerUnavailableError',
  ]
  const stage = protocol.includes(name) ? 'protocol' : handshake.includes(name) ? 'handshake' : 'dial'
  return { stage, reason: message === '' ? name : message }
}
