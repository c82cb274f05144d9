import type { Random } from '@comigs/protocol'

/** What the network does to every connection. */
export interface Weather {
  /** One way. */
  readonly delayMs: number
  /** Share of TCP segments that are lost. */
  readonly loss: number
}

export const CALM: Weather = { delayMs: 0, loss: 0 }
export const STORM: Weather = { delayMs: 200, loss: 0.1 }

/** A TCP segment's load on Ethernet. */
const SEGMENT_BYTES = 1448
/** Linux's least retransmission timeout, beside the round trip. */
const LEAST_TIMEOUT_MS = 200

/**
 * How long a lost segment keeps what follows from arriving: TCP delivers in order, sends again after a timeout of a round
 * trip and 200 ms, and waits twice as long each further time. So 10 % loss at 400 ms there and back lets about 20 kB/s
 * through, as the rule of Mathis et al. (1997) has it for real TCP: 14 kB/s.
 */
export function stallMs(bytes: number, { delayMs, loss }: Weather, random: Random): number {
  let stall = 0
  for (let at = 0; at < bytes; at += SEGMENT_BYTES) {
    for (let timeout = 2 * delayMs + LEAST_TIMEOUT_MS; random() < loss; timeout *= 2) stall += timeout
  }
  return stall
}
