/** Everything that can go wrong in this package, by code. Callers branch on `detail.code`, never on text. */
export type ProtocolErrorDetail =
  | {
      readonly code: 'MANIFEST_INVALID'
      readonly field: string
      readonly reason: string
      /** Of the file that it was read from. */
      readonly path?: string
    }
  | {
      readonly code: 'MANIFEST_MISMATCH'
      readonly field: string
      readonly ours: string
      readonly theirs: string
    }
  | { readonly code: 'FEDERATION_UNEXPECTED'; readonly expected: string; readonly actual: string }
  | { readonly code: 'MESSAGE_MALFORMED'; readonly what: string; readonly reason: string }
  | { readonly code: 'PAYLOAD_MALFORMED'; readonly codec: string; readonly reason: string }
  | { readonly code: 'PAYLOAD_NON_FINITE'; readonly index: number }
  | {
      readonly code: 'PAYLOAD_WRONG_HASH'
      readonly peer: string
      readonly expected: string
      readonly actual: string
    }
  | {
      readonly code: 'PAYLOAD_WRONG_LENGTH'
      readonly peer: string
      readonly expected: number
      readonly actual: number
    }
  | { readonly code: 'PEER_OPPOSED'; readonly peer: string }
  | { readonly code: 'PEER_REFUSED'; readonly peer: string; readonly what: string; readonly status: string }
  | { readonly code: 'PEER_TIMEOUT'; readonly peer: string; readonly what: string; readonly afterMs: number }
  | {
      readonly code: 'PEER_UNREACHABLE'
      readonly peer: string
      readonly stage: ReachStage
      readonly reason: string
    }

/** How far we came towards a peer: no connection, no secure channel, or no common protocol. */
export type ReachStage = 'dial' | 'handshake' | 'protocol'

/** The one error class of @comigs/protocol: a message for people, a `detail` for programs. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
  readonly detail: ProtocolErrorDetail

  constructor(detail: ProtocolErrorDetail, options?: ErrorOptions) {
    super(render(detail), options)
    this.detail = detail
  }
}

function render(d: ProtocolErrorDetail): string {
  switch (d.code) {
    case 'MANIFEST_INVALID':
      return `the federation manifest${d.path === undefined ? '' : ` in ${d.path}`} is not valid: field "${d.field}" ${d.reason}`
    case 'MANIFEST_MISMATCH':
      return `the peer is in another federation: field "${d.field}" is ${d.theirs} there and ${d.ours} here`
    case 'FEDERATION_UNEXPECTED':
      return `the peer's federation is ${d.actual}, but --federation asks for ${d.expected}`
    case 'MESSAGE_MALFORMED':
      return `a malformed ${d.what} was received: ${d.reason}`
    case 'PAYLOAD_MALFORMED':
      return `a ${d.codec} payload is malformed: ${d.reason}`
    case 'PAYLOAD_NON_FINITE':
      return `a payload holds a value that is not finite (element ${d.index})`
    case 'PAYLOAD_WRONG_HASH':
      return `${d.peer} served bytes with hash ${d.actual}, announced was ${d.expected}`
    case 'PAYLOAD_WRONG_LENGTH':
      return `${d.peer} served ${d.actual} bytes, announced were ${d.expected}`
    case 'PEER_OPPOSED':
      return `${d.peer} has learnt against us`
    case 'PEER_REFUSED':
      return `${d.peer} refused ${d.what}: ${d.status}`
    case 'PEER_TIMEOUT':
      return `${d.peer} made next to no progress with ${d.what} in ${d.afterMs} ms`
    case 'PEER_UNREACHABLE':
      return `${d.peer} cannot be reached (${d.stage} failed): ${d.reason}`
  }
}

export const isProtocolError = (
  error: unknown,
  ...codes: ProtocolErrorDetail['code'][]
): error is ProtocolError =>
  error instanceof ProtocolError && (codes.length === 0 || codes.includes(error.detail.code))
