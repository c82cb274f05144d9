import * as lp from 'it-length-prefixed'
import {
  PROTOCOL_VERSION,
  PROTOCOLS,
  type Wire,
  type WireStream,
} from '../../../packages/protocol/src/index.ts'
import { Hello } from '../../../packages/protocol/src/pb/messages.ts'

/** Number 99, three bytes long: what a later version may add. */
const UNKNOWN_FIELD = Uint8Array.of(0x9a, 0x06, 3, 1, 2, 3)

/** Says hello as a later version would, asking and answering. */
export function newer(wire: Wire): Wire {
  return {
    ...wire,
    async open(peer, protocol, options) {
      const stream = await wire.open(peer, protocol, options)
      return protocol === PROTOCOLS.hello ? speaking(stream) : stream
    },
    handle: (protocol, handler) =>
      wire.handle(protocol, (stream, peer) =>
        handler(protocol === PROTOCOLS.hello ? speaking(stream) : stream, peer),
      ),
  }
}

function speaking(stream: WireStream): WireStream {
  async function* newerFrames(source: Parameters<WireStream['sink']>[0]) {
    for await (const frame of lp.decode(source as AsyncIterable<Uint8Array>)) {
      const hello = Hello.encode({ ...Hello.decode(frame), version: PROTOCOL_VERSION + 1 })
      yield Buffer.concat([hello, UNKNOWN_FIELD])
    }
  }
  return {
    source: stream.source,
    sink: (source) => stream.sink(lp.encode(newerFrames(source))),
    close: () => stream.close(),
    abort: (error) => stream.abort(error),
  }
}
