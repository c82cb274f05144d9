import type { Command } from 'commander'
import { join } from 'node:path'
import type { CodecName } from '@comigs/protocol'
import { createLogUpdate } from 'log-update'
import pc from 'picocolors'
import type { PeerEvent, RoundEvent } from '../events.ts'
import { resolveBase } from '../base-folder.ts'
import { forRounds } from '../new-manifest.ts'
import { readDataSet } from '../swarm/data-set.ts'
import type { PeerResult, SwarmConfig, SwarmResult } from '../swarm/swarm.ts'
import { withShortHelp } from './help.ts'
import {
  bytes,
  count,
  downloadBar,
  logLine,
  number,
  outputWidth,
  percent,
  print,
  printJson,
  printNote,
  tableWithin,
} from './output.ts'
import { needed, option, shared, shareOfValues, wholeNumber } from './options.ts'
import { createStopNote } from './stop-note.ts'
import { stopSignal } from './stop-signal.ts'

interface Flags {
  readonly dataSet?: string
  readonly peers?: number
  readonly target: 'own' | 'mixture'
  readonly rounds: number
  readonly strategy: SwarmConfig['strategy']
  readonly seed: number
  readonly batch: number
  readonly context: number
  readonly base?: string
  readonly baseDtype: string
  readonly state?: string
  readonly codec: CodecName
  readonly share?: number
  readonly trusting: boolean
  readonly momentum?: number
  readonly threads: number
  readonly engine: string
  readonly stay: boolean
  readonly json?: boolean
}

const ESSENTIAL = [
  '--data-set',
  '--peers',
  '--target',
  '--rounds',
  '--strategy',
  '--batch',
  '--context',
  '--base',
  '--state',
  '--stay',
  '--threads',
  '--config',
  '--json',
]

/** `comigs-peer swarm`: several peers on this machine, each a process of its own. */
export function addSwarmCommand(program: Command): void {
  const command = program
    .command('swarm')
    .summary('Run several peers on this machine, and watch.')
    .description(
      'Run several peers on this machine, each a process with its own text, and watch them learn together.',
    )
    .addOption(
      option('--data-set <folder>', 'a folder of <user>.{train,valid,test}.txt[.gz], a user for each peer'),
    )
    .addOption(option('--peers <n>', 'how many (default: one for each user)').argParser(wholeNumber(1)))
    .addOption(
      option('--target <text>', "what a peer wants to be good at: its own text, or everyone's")
        .choices(['own', 'mixture'])
        .default('own'),
    )
    .addOption(option('--rounds <n>', 'rounds to train').argParser(wholeNumber(1)).default(30))
    .addOption(shared.strategy())
    .addOption(
      option('--codec <name>', 'how deltas are written down')
        .choices(['float32', 'float16', 'int8', 'int4'])
        .default('int8'),
    )
    .addOption(
      option(
        '--share <share>',
        'send only this share of a delta, the largest values (default: all)',
      ).argParser(shareOfValues),
    )
    .addOption(
      option('--trusting', 'mix in what others say as it is: neither clip nor judge it').default(false),
    )
    .addOption(shared.momentum())
    .addOption(shared.seed().default(42))
    .addOption(shared.batch())
    .addOption(shared.context())
    .addOption(shared.base())
    .addOption(shared.baseDtype())
    .addOption(option('--state <folder>', "where the peers' states go (default: a new folder in .comigs)"))
    .addOption(option('--stay', 'keep the peers and their page up after the last round').default(false))
    .addOption(shared.engine())
    .addOption(shared.threads())
    .addOption(shared.config())
    .addOption(shared.json())
    .addHelpText(
      'after',
      '\nExample:\n  npx comigs-peer swarm --data-set data/multilingual-cc0 --target mixture',
    )
    .action(async (flags: Flags) => {
      const dataSet = await readDataSet(needed('--data-set', flags.dataSet))
      const config: SwarmConfig = {
        ...flags,
        dataSet,
        peers: flags.peers ?? dataSet.users.length,
        base: await resolveBase(flags.base, downloadBar),
        state:
          flags.state ??
          join('.comigs', `swarm-${new Date().toISOString().slice(0, 19).replace(/[:T]/g, '-')}`),
        federation: {
          name: 'swarm',
          seed: flags.seed,
          schedule: forRounds(flags.rounds),
          codec: { values: flags.codec, ...(flags.share === undefined ? {} : { topK: flags.share }) },
          robust: !flags.trusting,
          momentum: flags.momentum,
        },
      }
      const { runSwarm } = await import('../swarm/swarm.ts')
      const show = flags.json === true ? jsonView() : process.stdout.isTTY ? liveView(config) : lineView()
      const stopped = createStopNote()
      const signal = stopSignal(() => show.onStop?.())
      try {
        await runSwarm(config, {
          ...show,
          onEvent: (peer, event) => {
            stopped.note(peer, event)
            show.onEvent(peer, event)
          },
          signal,
        })
      } finally {
        show.end?.()
      }
      const again =
        flags.state === undefined ? `the same command with --state ${config.state}` : 'the same command'
      if (signal.aborted && flags.json !== true) printNote(stopped.text(config.peers, `${again} goes on`))
    })
  withShortHelp(command, ESSENTIAL)
}

interface View {
  onPage(url: string): void
  onEvent(peer: string, event: PeerEvent): void
  onLog(peer: string, line: string): void
  onResult(result: SwarmResult): Promise<void>
  /** Asked to stop. */
  onStop?(): void
  /** Nothing more is redrawn. */
  end?(): void
}

const STOPPING = 'stopping: waits for the rounds that run; ctrl-C again ends it now'

const logToStderr = (peer: string, line: string): void => {
  process.stderr.write(`${logLine(peer, line)}\n`)
}

function jsonView(): View {
  return {
    onPage: (http) => {
      printJson({ event: 'page', http })
    },
    onEvent: (peer, event) => {
      printJson({ peer, ...event })
    },
    onLog: logToStderr,
    onResult: (result) => {
      printJson({ event: 'result', ...result })
      return Promise.resolve()
    },
  }
}

/** One line an event, for logs. */
function lineView(): View {
  return {
    onPage: (url) => {
      print(`page   ${url}`)
    },
    onEvent(peer, event) {
      const line = eventLine(event)
      if (line !== undefined) print(`${peer.padEnd(6)} ${line}`)
    },
    onLog: logToStderr,
    onResult: (result) => {
      printResult(result)
      return Promise.resolve()
    },
    onStop: () => {
      printNote(STOPPING)
    },
  }
}

function eventLine(event: PeerEvent): string | undefined {
  switch (event.event) {
    case 'engine':
      return `engine ${event.engine}: ${event.device}`
    case 'memory':
      return event.advice === undefined ? undefined : pc.yellow(`memory: ${event.found}`)
    case 'listening':
      return `process ${event.pid}, ${event.addresses[0] ?? 'not listening'}`
    case 'base':
      return `base: validation perplexity ${number(event.valid.perplexity)}`
    case 'joined':
      return `joined at the mean of ${event.copies}`
    case 'refused':
    case 'alone':
      return pc.yellow(event.message)
    case 'round':
      return Object.entries(roundCells(event))
        .map(([name, value]) => `${name} ${value}`)
        .join('  ')
    case 'testing':
      return `testing ${percent(event.share)}`
    case 'result':
      return `test perplexity ${number(event.test.perplexity)}`
    case 'federation':
    case 'upnp':
    case 'data':
    case 'start':
    case 'staying':
    case 'consensus':
      return undefined
  }
}

function roundCells(event: RoundEvent): Record<string, string> {
  return {
    round: String(event.round),
    'train loss': event.trainLoss.toFixed(3),
    'valid loss': event.validLoss?.toFixed(3) ?? '-',
    perplexity: event.validPerplexity === undefined ? '-' : number(event.validPerplexity),
    'mixed with': String(event.mixedWith),
    distance: event.consensusDistance?.toFixed(3) ?? '-',
    'tokens/s': count(Math.round(event.tokensPerSecond)),
    sent: bytes(event.bytes.sent),
    received: bytes(event.bytes.received),
  }
}

/** A table that is redrawn in place, and every second, so that it can be seen to go on. */
function liveView({ rounds }: SwarmConfig): View {
  const draw = createLogUpdate(process.stdout)
  const started = Date.now()
  const peers = new Map<string, LivePeer>()
  let page = ''
  let timer: NodeJS.Timeout | undefined
  const redraw = () => {
    if (timer === undefined) return
    const rows = [...peers].map(([name, { state, cells }]) => ({ peer: name, '': state, ...cells }))
    const seconds = Math.round((Date.now() - started) / 1000)
    draw(
      [liveTable(rows, outputWidth()), `${progressOf([...peers.values()], rounds)}, ${seconds} s`, page].join(
        '\n',
      ),
    )
  }
  const end = () => {
    clearInterval(timer)
    timer = undefined
    draw.done()
  }
  return {
    onPage: (url) => {
      page = `Watch it in a browser: ${pc.bold(url)}`
      print(`${page}\n`)
      timer = setInterval(redraw, REDRAW_MS)
    },
    onEvent(peer, event) {
      const row = peers.get(peer) ?? { state: 'starting', tested: undefined, cells: {} }
      peers.set(peer, row)
      if (event.event === 'base') row.state = `base ${number(event.valid.perplexity)}`
      if (event.event === 'round') {
        row.state = 'training'
        row.cells = { ...row.cells, ...withoutDashes(roundCells(event)) }
      }
      if (event.event === 'testing') {
        row.state = 'testing'
        row.tested = event.share
      }
      if (event.event === 'result') {
        row.state = `test ${number(event.test.perplexity)}`
        row.tested = 1
      }
      redraw()
    },
    onLog(peer, line) {
      if (!process.stderr.isTTY) {
        logToStderr(peer, line)
        return
      }
      draw.persist(logLine(peer, line))
      redraw()
    },
    onResult: (result) => {
      end()
      printResult(result)
      return Promise.resolve()
    },
    onStop: () => {
      page = STOPPING
      redraw()
    },
    end,
  }
}

const REDRAW_MS = 1000

interface LivePeer {
  state: string
  /** How much of the test is done; undefined before it. */
  tested: number | undefined
  cells: Record<string, string>
}

/** A bar for the rounds, and one for the test after them. */
export function progressOf(peers: readonly Pick<LivePeer, 'tested' | 'cells'>[], rounds: number): string {
  const tested = peers.map((peer) => peer.tested)
  if (tested.some((share) => share !== undefined)) {
    const share = tested.reduce<number>((sum, one) => sum + (one ?? 0), 0) / peers.length
    return `${progressBar(share)} testing ${percent(share)}`
  }
  const furthest = Math.max(0, ...peers.map(({ cells }) => Number(cells['round'] ?? 0)))
  return `${progressBar(furthest / rounds)} round ${furthest} of ${rounds}`
}

const LIVE_COLUMNS = [
  'peer',
  '',
  'round',
  'train loss',
  'valid loss',
  'perplexity',
  'mixed with',
  'distance',
  'tokens/s',
  'sent',
  'received',
]
const LIVE_EXPENDABLE = ['valid loss', 'tokens/s', 'received', 'sent', 'train loss', 'distance', 'mixed with']

export const liveTable = (rows: readonly Readonly<Record<string, string>>[], width: number): string =>
  tableWithin(width, LIVE_COLUMNS, LIVE_EXPENDABLE, rows)

/** A value that this round did not measure does not wipe out the last one. */
function withoutDashes(cells: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(cells).filter(([, value]) => value !== '-'))
}

const BAR_WIDTH = 30

function progressBar(share: number): string {
  const full = Math.round(BAR_WIDTH * Math.min(1, share))
  return `${pc.green('█'.repeat(full))}${pc.dim('░'.repeat(BAR_WIDTH - full))}`
}

function printResult({ seconds, peers }: SwarmResult): void {
  print(`\nTest perplexity after ${peers[0]?.rounds ?? 0} rounds, ${Math.round(seconds)} s (lower is better)`)
  print(resultTable(peers, outputWidth()))
  print(nextSteps(peers))
}

const RESULT_COLUMNS = [
  'peer',
  'base',
  'personal',
  'base, own text',
  'personal, own text',
  'mixed with',
  'sent',
  'distance',
]
const RESULT_EXPENDABLE = ['mixed with', 'distance', 'sent', 'base, own text', 'personal, own text']

export function resultTable(peers: readonly PeerResult[], width: number): string {
  const rows = peers.map((peer) => ({
    peer: peer.name,
    base: number(peer.basePerplexity),
    personal: pc.bold(number(peer.perplexity)),
    'base, own text': number(peer.baseOwnPerplexity),
    'personal, own text': number(peer.ownPerplexity),
    'mixed with': String(peer.mixedWith),
    sent: bytes(peer.bytesSent),
    distance: peer.consensusDistance?.toFixed(3) ?? '-',
  }))
  return tableWithin(width, RESULT_COLUMNS, RESULT_EXPENDABLE, rows)
}

export function nextSteps(peers: readonly PeerResult[]): string {
  const state = peers[0]?.state ?? '.comigs'
  return [
    'What next',
    '  write with a personal model; --prompt "..." is how to begin:',
    `    npx comigs-peer generate --state ${state}`,
    '  train on your own text, and print what others type to join:',
    '    npx comigs-peer --data <files or folders>',
    '  join from another machine:',
    '    npx comigs-peer --bootstrap <address that it prints> --data <your text>',
  ].join('\n')
}
