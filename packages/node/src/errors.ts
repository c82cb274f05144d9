/** Everything that can go wrong in this package, by code. Callers branch on `detail.code`, never on text. */
export type NodeErrorDetail =
  | { readonly code: 'ADDRESS_MALFORMED'; readonly address: string; readonly reason: string }
  | {
      readonly code: 'BOOTSTRAP_FAILED'
      readonly address: string
      readonly stage: string
      readonly reason: string
    }
  | { readonly code: 'NOBODY_NEARBY'; readonly federation: string; readonly seconds: number }
  | {
      readonly code: 'BASE_MISSING'
      readonly name: string
      readonly weights: string
      readonly looked: readonly string[]
    }
  | { readonly code: 'BASE_UNREADABLE'; readonly folder: string; readonly reason: string }
  | {
      readonly code: 'BASE_MISMATCH'
      readonly folder: string
      readonly field: string
      readonly expected: string
      readonly actual: string
    }
  | { readonly code: 'BASE_DOWNLOAD_FAILED'; readonly id: string; readonly reason: string }
  | { readonly code: 'CONFIG_FILE_INVALID'; readonly path: string; readonly reason: string }
  | { readonly code: 'STATE_LOCKED'; readonly folder: string; readonly pid: number }
  | { readonly code: 'STATE_UNUSABLE'; readonly path: string; readonly reason: string }
  | {
      readonly code: 'STATE_OF_OTHERS'
      readonly folder: string
      readonly ours: string
      readonly theirs: string
    }
  | { readonly code: 'PORT_IN_USE'; readonly what: string; readonly address: string }
  | {
      readonly code: 'ADDRESS_UNUSABLE'
      readonly what: string
      readonly address: string
      readonly reason: string
    }
  | {
      readonly code: 'OPTION_INVALID'
      readonly option: string
      readonly value: string
      readonly reason: string
    }
  | { readonly code: 'OPTION_MISSING'; readonly option: string; readonly hint: string }
  | {
      readonly code: 'PEER_DIED'
      readonly peer: string
      readonly exitCode: number | null
      readonly lastLine: string
    }
  | { readonly code: 'WORKER_DIED'; readonly reason: string }
  | { readonly code: 'TEXT_QUEUE_FULL'; readonly waiting: number }
  | { readonly code: 'TEXT_TIMEOUT'; readonly seconds: number; readonly tokens: number }

/** The error class of @comigs/node: a message for people, a `detail` for programs. */
export class NodeError extends Error {
  override readonly name = 'NodeError'
  readonly detail: NodeErrorDetail

  constructor(detail: NodeErrorDetail, options?: ErrorOptions) {
    super(render(detail), options)
    this.detail = detail
  }
}

function render(d: NodeErrorDetail): string {
  switch (d.code) {
    case 'ADDRESS_MALFORMED':
      return `"${d.address}" is not an address: ${d.reason}; expected something like /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo...`
    case 'BOOTSTRAP_FAILED':
      return `the bootstrap peer ${d.address} cannot be reached: the ${d.stage} failed (${d.reason})`
    case 'NOBODY_NEARBY':
      return `nobody of the federation ${d.federation} answered in the local network within ${d.seconds} s; start a peer of it there with --mdns, or give the address of one with --bootstrap`
    case 'BASE_MISSING':
      return `the federation's base model "${d.name}" (weights ${d.weights.slice(0, 12)}) is not on this machine; give ${d.name.includes('/') ? `--base ${d.name}, or its folder` : 'its folder with --base'}. Looked in: ${d.looked.join(', ')}`
    case 'BASE_UNREADABLE':
      return `there is no base model in ${d.folder}: ${d.reason}`
    case 'BASE_MISMATCH':
      return `the base model in ${d.folder} is not the federation's: ${d.field} is ${d.actual.slice(0, 12)}, the manifest says ${d.expected.slice(0, 12)}`
    case 'BASE_DOWNLOAD_FAILED':
      return `the base model ${d.id} cannot be downloaded: ${d.reason}`
    case 'CONFIG_FILE_INVALID':
      return `the configuration file ${d.path} cannot be used: ${d.reason}; \`npx comigs-peer config\` lists the keys`
    case 'STATE_LOCKED':
      return `the state folder ${d.folder} is in use by process ${d.pid}`
    case 'STATE_UNUSABLE':
      return `the state at ${d.path} cannot be used: ${d.reason}`
    case 'STATE_OF_OTHERS':
      return `the state folder ${d.folder} belongs to federation ${d.ours.slice(0, 16)}, but the bootstrap peer is of ${d.theirs.slice(0, 16)}; give another folder with --state, or a peer of ours`
    case 'PORT_IN_USE':
      return `the ${d.what} address ${d.address} is already in use; choose another, or port 0 to let the system choose`
    case 'ADDRESS_UNUSABLE':
      return `the ${d.what} address ${d.address} cannot be listened on (${d.reason}); choose an address of this machine, and a port that you may use`
    case 'OPTION_INVALID':
      return `${d.option} "${d.value}" ${d.reason}`
    case 'OPTION_MISSING':
      return `${d.option} is needed: ${d.hint}`
    case 'PEER_DIED':
      return `peer ${d.peer} ended with exit code ${d.exitCode ?? 'none'}: ${d.lastLine}`
    case 'WORKER_DIED':
      return `the training worker died: ${d.reason}`
    case 'TEXT_QUEUE_FULL':
      return `${d.waiting} requests for text are waiting already; try again later`
    case 'TEXT_TIMEOUT':
      return `the text was not finished within ${d.seconds} s (${d.tokens} tokens were made); ask for fewer tokens, or when the peer is less busy`
  }
}

/** What to do next, where the message alone does not lead on: told beside it. */
const ADVICE: Readonly<Record<string, string>> = {
  STATE_LOCKED: 'stop that process, or give another folder with --state',
  BOOTSTRAP_FAILED: '`npx comigs-peer doctor --bootstrap <address>` says what to look at',
  BASE_UNREADABLE: 'give --base a Hugging Face folder, or owner/name of one on the hub',
  BASE_DOWNLOAD_FAILED:
    'look at the connection and the name, or give --base a Hugging Face folder on this machine',
}

export const adviceOf = (error: unknown): string | undefined =>
  isCoded(error) ? ADVICE[error.detail.code] : undefined

/** An error with a code, from whichever package (or thread) it came. */
export interface CodedError extends Error {
  readonly detail: { readonly code: string }
}

export function isCoded(error: unknown): error is CodedError {
  if (!(error instanceof Error) || !('detail' in error)) return false
  const { detail } = error
  return typeof detail === 'object' && detail !== null && 'code' in detail && typeof detail.code === 'string'
}

/** What the process exits with. Documented in docs/reference/errors.md. */
export const EXIT = {
  /** All went well, or it was asked to stop and did. */
  ok: 0,
  /** Something that no other code is for. */
  failure: 1,
  /** A flag, variable or configuration file is wrong. */
  usage: 2,
  /** The text is missing, too little or cannot be read. */
  data: 3,
  /** The base model is missing, damaged or another. */
  base: 4,
  /** An address is in use, or a peer cannot be reached. */
  network: 5,
  /** The manifest is wrong, or the federation another. */
  federation: 6,
  /** The state folder is in use, damaged or cannot be written. */
  state: 7,
  /** Interrupted for the second time: nothing was put away. */
  interrupted: 130,
} as const

const EXIT_OF: Readonly<Record<string, number>> = {
  OPTION_INVALID: EXIT.usage,
  OPTION_MISSING: EXIT.usage,
  ADDRESS_MALFORMED: EXIT.usage,
  CONFIG_FILE_INVALID: EXIT.usage,
  DATA_MISSING: EXIT.data,
  DATA_EMPTY: EXIT.data,
  DATA_BINARY: EXIT.data,
  DATA_MALFORMED: EXIT.data,
  DATA_TOO_SHORT: EXIT.data,
  FILE_UNREADABLE: EXIT.data,
  BASE_MISSING: EXIT.base,
  BASE_UNREADABLE: EXIT.base,
  BASE_MISMATCH: EXIT.base,
  BASE_DOWNLOAD_FAILED: EXIT.base,
  SAFETENSORS_INVALID: EXIT.base,
  TENSOR_MISSING: EXIT.base,
  TENSOR_UNEXPECTED: EXIT.base,
  TENSOR_NON_FINITE: EXIT.base,
  CONFIG_INVALID: EXIT.base,
  ARCHITECTURE_UNSUPPORTED: EXIT.base,
  SHAPE_MISMATCH: EXIT.base,
  BOOTSTRAP_FAILED: EXIT.network,
  NOBODY_NEARBY: EXIT.network,
  PORT_IN_USE: EXIT.network,
  ADDRESS_UNUSABLE: EXIT.network,
  PEER_UNREACHABLE: EXIT.network,
  PEER_TIMEOUT: EXIT.network,
  MANIFEST_INVALID: EXIT.federation,
  MANIFEST_MISMATCH: EXIT.federation,
  FEDERATION_UNEXPECTED: EXIT.federation,
  STATE_OF_OTHERS: EXIT.federation,
  STATE_LOCKED: EXIT.state,
  STATE_UNUSABLE: EXIT.state,
  CHECKPOINT_INVALID: EXIT.state,
}

export function exitCodeOf(error: unknown): number {
  return isCoded(error) ? (EXIT_OF[error.detail.code] ?? EXIT.failure) : EXIT.failure
}
