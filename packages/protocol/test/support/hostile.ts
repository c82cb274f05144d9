import * as lp from 'it-length-prefixed'
import type { MemoryNetwork } from './memory-network.ts'

/** One length-prefixed frame. */
export const frame = (bytes: Uint8Array): Uint8Array => lp.encode.single(bytes).subarray()

/** Never resolves. */
export const forEver = (): Promise<never> => new Promise(() => undefined)

type Bytes = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

/** Lets a peer answer a protocol with whatever bytes, whatever it is asked. */
export async function answerWith(
  network: MemoryNetwork,
  peer: string,
  protocol: string,
  bytes: () => Bytes,
): Promise<void> {
  await network.wire(peer).handle(protocol, (stream) => stream.sink(bytes()))
}

/** These pieces, and then silence without an end. */
export async function* andThenSilence(...pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces
  await forEver()
}
