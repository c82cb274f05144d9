import { AUTO_ENGINES, ENGINES } from '@comigs/model/light'
import { LARGEST_MOMENTUM, LARGEST_SHARE, SMALLEST_MOMENTUM, SMALLEST_SHARE } from '@comigs/protocol'
import { InvalidArgumentError, Option } from 'commander'
import { NodeError } from '../errors.ts'
import type { PeerConfig } from '../peer.ts'
import { PREFIX } from './environment.ts'

/** Every option can also stand in the environment, as COMIGS_PEER_ and its name in capitals. */
export function option(flags: string, description: string): Option {
  const made = new Option(flags, description)
  return made.env(
    PREFIX +
      made
        .attributeName()
        .replace(/([A-Z])/g, '_$1')
        .toUpperCase(),
  )
}

/**
 * For what has no default. Commander could only know what is missing before a file is read.
 * @param flag - `--out`
 * @throws NodeError `OPTION_MISSING`
 */
export function needed<T>(flag: string, value: T | undefined): T {
  if (value !== undefined) return value
  throw new NodeError({ code: 'OPTION_MISSING', option: flag, hint: 'see --help for an example' })
}

/** NaN for nothing, which is 0 for `Number`. */
const numberIn = (text: string): number => (text.trim() === '' ? NaN : Number(text))

export function wholeNumber(minimum: number) {
  return (text: string): number => {
    const value = numberIn(text)
    if (!Number.isInteger(value) || value < minimum)
      throw new InvalidArgumentError(`expected a whole number from ${minimum}`)
    return value
  }
}

export function between(low: number, high: number) {
  return (text: string): number => {
    const value = numberIn(text)
    if (!(value >= low && value <= high))
      throw new InvalidArgumentError(`expected a number from ${low} to ${high}`)
    return value
  }
}

/** Of a delta's values, as a manifest takes it. */
export const shareOfValues = between(SMALLEST_SHARE, LARGEST_SHARE)

export const shared = {
  config: () => option('--config <file>', 'YAML with any of these by name'),
  json: () => option('--json', 'one JSON object a line on stdout, nothing else'),
  logLevel: () =>
    option('--log-level <level>', 'what goes to stderr')
      .choices(['debug', 'info', 'warn', 'error', 'silent'])
      .default('warn'),
  engine: () =>
    option('--engine <name>', `what computes; auto: the first that loads of ${AUTO_ENGINES.join(', ')}`)
      .choices(['auto', ...ENGINES])
      .default('auto'),
  threads: () => option('--threads <n>', 'threads of one operator').argParser(wholeNumber(1)).default(1),
  momentum: () =>
    option(
      '--momentum <factor>',
      'of what training moves the generalist by, round after round (default: none)',
    ).argParser(between(SMALLEST_MOMENTUM, LARGEST_MOMENTUM)),
  base: () =>
    option(
      '--base <folder>',
      'base model: a Hugging Face folder, or owner/name of one on the hub (default: the shipped one)',
    ),
  baseDtype: () =>
    option(
      '--base-dtype <type>',
      "how the base's matrices are kept: less memory for their last bits; auto: as in its files, float32 below 100 MB",
    )
      .choices(['auto', 'float32', 'float16', 'int8'])
      .default('auto'),
  experts: () =>
    option('--experts <n>', 'experts, the generalist included').argParser(wholeNumber(1)).default(2),
  state: () => option('--state <folder>', 'where all of a peer is kept').default('.comigs'),
  batch: () => option('--batch <n>', 'sequences in a batch').argParser(wholeNumber(1)).default(8),
  context: () => option('--context <n>', 'tokens of a sequence').argParser(wholeNumber(8)).default(128),
  seed: (of = 'everything random') => option('--seed <n>', `seed of ${of}`).argParser(wholeNumber(0)),
  rounds: () =>
    option('--rounds <n>', 'stop after this round').argParser(wholeNumber(1)).default(Infinity, 'never'),
  strategy: () =>
    option('--strategy <name>', 'comigs: exchange the generalist; local: train alone')
      .choices(['comigs', 'local'])
      .default('comigs'),
} as const

/** Flags of every command that listens for HTTP. */
export interface HttpFlags {
  readonly http: PeerConfig['http']
  readonly httpNames?: string[]
  readonly httpToken?: string
}

export const httpOptions = () => [
  option('--http <host:port>', 'where to serve over HTTP')
    .argParser(httpAddress)
    .default({ host: '127.0.0.1', port: 0 }, '127.0.0.1:0'),
  option('--http-names <name...>', 'further names that HTTP requests may call us by'),
  option('--http-token <token>', 'needed to listen for HTTP off loopback'),
]

/** host:port, or just a port. */
function httpAddress(text: string): PeerConfig['http'] {
  const match = /^(?:(?:\[([^\]]+)\]|([^:]+)):)?(\d+)$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65_535)
    throw new InvalidArgumentError('expected host:port, such as 127.0.0.1:9464')
  return { host: match[1] ?? match[2] ?? '127.0.0.1', port }
}
