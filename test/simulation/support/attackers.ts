import type { Clock, Wire, WireStream } from '../../../packages/protocol/src/index.ts'
import { PROTOCOLS } from '../../../packages/protocol/src/index.ts'
import type { RoundTrainer } from '../../../packages/node/src/round.ts'

/** What bad peers do. The first eight tell wrong vectors, as signed and well-formed as any; the others break the protocol. */
export const ATTACKS = [
  'sign-flip',
  'scaled',
  'noise',
  'constant',
  'stale-replay',
  'inner-product',
  'little-is-enough',
  'sybil-pair',
  'garbage-bytes',
  'slow-loris',
  'oversize-frame',
  'snapshot-liar',
] as const
export type Attack = (typeof ATTACKS)[number]

/** Attackers know everything: all honest vectors as they are now. */
export interface Knowledge {
  readonly initial: Float32Array
  honest(): readonly Float32Array[]
  gaussian(): number
}

/** Ten times what was learnt. */
const SCALE = 10
/** Standard deviations that hide in the crowd (Baruch, Baruch and Goldberg 2019). */
const LITTLE = 1.5
/** How much of the mean update is taken back (Xie, Koyejo and Gupta 2019). */
const INNER = 0.5

/** A trainer that trains as anyone, and tells something else. */
export function poisoned<T extends RoundTrainer>(trainer: T, attack: Attack, known: Knowledge): T {
  let replayed: Float32Array | undefined
  return {
    ...trainer,
    async shared() {
      const x = await trainer.shared()
      if (attack === 'stale-replay') return (replayed ??= x).slice()
      return tell(attack, x, known)
    },
  }
}

function tell(attack: Attack, x: Float32Array, { initial, honest, gaussian }: Knowledge): Float32Array {
  // From what the honest have, not from their own x, which their own lies would drive away.
  const { mean, deviation } = statistics(honest(), initial)
  const learnt = Math.sqrt(mean.reduce((sum, value, k) => sum + (value - initial[k]!) ** 2, 0) / x.length)
  switch (attack) {
    case 'sign-flip':
      return mean.map((value, k) => 2 * initial[k]! - value)
    case 'scaled':
      return mean.map((value, k) => initial[k]! + SCALE * (value - initial[k]!))
    case 'noise':
      return mean.map((value) => value + SCALE * learnt * gaussian())
    case 'constant':
      return mean.map(() => SCALE * learnt)
    case 'inner-product':
      // Half way back: as near as an honest straggler, and against what all others do.
      return mean.map((value, k) => value - INNER * (value - initial[k]!))
    case 'little-is-enough':
      return mean.map((value, k) => value - LITTLE * deviation[k]! * Math.sign(value - initial[k]!))
    case 'sybil-pair':
      // All of them at one point, far from the truth but no further than what was learnt: they vouch for each other.
      return x.map((_, k) => initial[k]! + learnt * (k % 2 === 0 ? 1.5 : -1.5))
    case 'stale-replay':
    case 'garbage-bytes':
    case 'slow-loris':
    case 'oversize-frame':
    case 'snapshot-liar':
      return x
  }
}

function statistics(vectors: readonly Float32Array[], initial: Float32Array) {
  const mean = initial.map((_, k) => vectors.reduce((sum, x) => sum + x[k]!, 0) / vectors.length)
  const deviation = mean.map((centre, k) =>
    Math.sqrt(vectors.reduce((sum, x) => sum + (x[k]! - centre) ** 2, 0) / vectors.length),
  )
  return { mean, deviation }
}

type Handler = (stream: WireStream, peer: string) => Promise<void>

/** A wire whose answers are not what the protocol asks for. */
export function misbehaving(wire: Wire, attack: Attack, clock: Clock): Wire {
  const instead = (protocol: string, honest: Handler): Handler => {
    const isData =
      protocol === PROTOCOLS.payload || protocol === PROTOCOLS.copy || protocol.endsWith('/average')
    if (attack === 'slow-loris' && isData) return (stream) => stream.sink(dribble(clock))
    if (attack === 'oversize-frame' && isData)
      return (stream) => stream.sink([Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x07)])
    if (attack === 'garbage-bytes' && protocol === PROTOCOLS.payload)
      return (stream, peer) => honest(corrupting(stream), peer)
    if (attack === 'snapshot-liar' && protocol === PROTOCOLS.copy)
      return (stream, peer) => honest(corrupting(stream), peer)
    return honest
  }
  return { ...wire, handle: (protocol, handler) => wire.handle(protocol, instead(protocol, handler)) }
}

/** Just before silence is noticed. */
const DRIBBLE_MS = 9000

/** The beginning of a frame as long as a frame may be, and then a byte of it now and then. */
async function* dribble(clock: Clock): AsyncGenerator<Uint8Array> {
  yield Uint8Array.of(0xff, 0xff, 0x0f)
  for (;;) {
    await clock.sleep(DRIBBLE_MS)
    yield Uint8Array.of(0)
  }
}

/** Headers and small frames: what is longer is data. */
const HEADER_BYTES = 24

/** Flips a bit in every long piece that is sent. */
function corrupting(stream: WireStream): WireStream {
  return {
    source: stream.source,
    close: () => stream.close(),
    abort: (error) => stream.abort(error),
    sink: (source) =>
      stream.sink(
        (async function* () {
          for await (const piece of source) {
            const wrong = piece.slice()
            if (wrong.length > HEADER_BYTES) wrong[wrong.length - 1]! ^= 0x40
            yield wrong
          }
        })(),
      ),
  }
}
