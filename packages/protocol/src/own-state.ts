import { equals } from 'uint8arrays/equals'
import { CODECS, requireFinite } from './codec/codec.ts'
import { ProtocolError } from './errors.ts'
import { sha256 } from './payload.ts'
import { StoredState } from './pb/messages.ts'

/** What must survive a restart for the swarm's copies of us to stay true. Written before it is announced. */
export interface OwnState {
  readonly epoch: number
  readonly sequence: number
  readonly round: number
  /** Our public copy, y. */
  readonly copy: Float32Array
  /** The last announcement, signed and encoded; empty before the first. */
  readonly announcement: Uint8Array
  /** The payload that it announced. */
  readonly payload: Uint8Array
}

const DIGEST_BYTES = 32

/** A file's bytes: SHA-256 of the rest, then the rest. */
export function encodeOwnState(state: OwnState): Uint8Array {
  const body = StoredState.encode({ ...state, copy: CODECS.float32.encode(state.copy, () => 0) })
  const bytes = new Uint8Array(DIGEST_BYTES + body.byteLength)
  bytes.set(sha256(body))
  bytes.set(body, DIGEST_BYTES)
  return bytes
}

/**
 * @param count - length of the shared vector
 * @throws ProtocolError `MESSAGE_MALFORMED` when the file is torn or of another federation
 */
export function decodeOwnState(bytes: Uint8Array, count: number): OwnState {
  const malformed = (reason: string, cause?: unknown) =>
    new ProtocolError({ code: 'MESSAGE_MALFORMED', what: 'stored state', reason }, { cause })
  const body = bytes.subarray(DIGEST_BYTES)
  if (!equals(bytes.subarray(0, DIGEST_BYTES), sha256(body))) throw malformed('the digest does not fit')
  try {
    const stored = StoredState.decode(body)
    const copy = CODECS.float32.decode(stored.copy, count)
    requireFinite(copy)
    return { ...stored, copy }
  } catch (error) {
    throw malformed(error instanceof Error ? error.message : String(error), error)
  }
}
