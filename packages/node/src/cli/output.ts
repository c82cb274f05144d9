import { reasonOf } from '@comigs/model/light'
import { stripVTControlCharacters } from 'node:util'
import Table from 'cli-table3'
import pc from 'picocolors'
import { createLogUpdate } from 'log-update'
import { destination, type Level, type Logger, multistream, pino } from 'pino'
import pretty, { prettyFactory } from 'pino-pretty'
import { NodeError } from '../errors.ts'
import type { Activity, PeerEvent, RoundEvent } from '../events.ts'
import { wrapped } from './help.ts'

/**
 * Logs on stderr, so that stdout stays for results: for people on a terminal, otherwise a JSON object a line.
 * @param level - what goes to stderr
 * @param file - gets everything from info on, whatever goes to stderr
 * @param makeRoom - called before something is shown on a terminal
 * @throws NodeError `OPTION_INVALID` when the file cannot be written
 */
export function createLog(level: string, file?: string, makeRoom?: () => void): Logger {
  // Written at once: a process that dies tells why.
  const terminal = process.stderr.isTTY
    ? pretty({ destination: 2, sync: true, colorize: pc.isColorSupported, singleLine: true })
    : destination(2)
  const stream = {
    write(line: string) {
      makeRoom?.()
      terminal.write(line)
    },
  }
  const streams = level === 'silent' ? [] : [{ level: level as Level, stream }]
  if (file !== undefined) {
    streams.push({ level: level === 'debug' ? 'debug' : 'info', stream: openLogFile(file) })
  }
  return pino({ base: null, level: streams.length === 0 ? 'silent' : 'debug' }, multistream(streams))
}

const forPeople = prettyFactory({ colorize: pc.isColorSupported, singleLine: true })

/** What another process of ours logs, named by its peer, as createLog would show it here. */
export function logLine(peer: string, line: string, isTerminal = process.stderr.isTTY): string {
  return `[${peer}] ${isTerminal ? forPeople(line).trimEnd() : line}`
}

function openLogFile(file: string) {
  try {
    return destination({ dest: file, append: true, mkdir: true, sync: true })
  } catch (error) {
    const reason = `cannot be written: ${reasonOf(error)}`
    throw new NodeError(
      { code: 'OPTION_INVALID', option: '--log-file', value: file, reason },
      { cause: error },
    )
  }
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** For the person at the terminal, beside what stdout is for. A terminal has shown `^C` on this line. */
export function printNote(text: string | undefined): void {
  if (text !== undefined) process.stderr.write(`${process.stderr.isTTY ? '\n' : ''}${text}\n`)
}

/** On stderr, before there is a log. */
export function warn(line: string): void {
  process.stderr.write(`${pc.yellow('warning')}: ${line}\n`)
}

/** The library would colour its lines in a file, too. */
export function createTable(head: string[]) {
  const colours = pc.isColorSupported ? { head: ['bold'] } : { head: [], border: [] }
  return new Table({ head, style: { compact: true, ...colours } })
}

/** A terminal that does not tell its width has the one that all have had. A file or pipe has room for any line. */
export function outputWidth(): number {
  return process.stdout.isTTY ? process.stdout.columns || 80 : Infinity
}

/**
 * A table no wider than `width`: a terminal breaks longer lines, and what is redrawn in place is lost in the pieces.
 * @param columns - heads, which are the keys of the cells, too
 * @param expendable - heads of what is left out until it fits, the least important first
 */
export function tableWithin(
  width: number,
  columns: readonly string[],
  expendable: readonly string[],
  rows: readonly Readonly<Record<string, string>>[],
): string {
  const table = createTable(columns.map((head) => head.replace(' ', '\n')))
  for (const row of rows) table.push(columns.map((column) => row[column] ?? ''))
  const drawn = table.toString()
  const [least, ...others] = expendable
  if (least === undefined || visibleWidth(drawn) <= width) return drawn
  return tableWithin(
    width,
    columns.filter((column) => column !== least),
    others,
    rows,
  )
}

const visibleWidth = (text: string): number =>
  Math.max(
    ...stripVTControlCharacters(text)
      .split('\n')
      .map((line) => line.length),
  )

const BAR_WIDTH = 24
const DRAW_MS = 100
/** What takes no longer is over before anyone could read it. */
const PATIENCE_MS = 500

export interface Progress {
  /** Undefined: nothing more is going on. */
  show(activity: Activity | undefined): void
  /** Makes room for other lines on the terminal. */
  clear(): void
}

/** What is going on, in a line on stderr that is redrawn, where someone is looking at it. */
export function createProgress(isWanted = true): Progress {
  if (!isWanted || !process.stderr.isTTY) return { show: () => undefined, clear: () => undefined }
  const line = createLogUpdate(process.stderr, { showCursor: true })
  let current: Activity | undefined
  let since = 0
  let drawn = 0
  let timer: NodeJS.Timeout | undefined
  const draw = () => {
    const now = performance.now()
    if (current === undefined || now - since < PATIENCE_MS || now - drawn < DRAW_MS) return
    drawn = now
    line(progressLine(current, (now - since) / 1000, process.stderr.columns || 80))
  }
  return {
    show(activity) {
      if (activity?.doing !== current?.doing) {
        line.clear()
        since = performance.now()
      }
      current = activity
      if (activity === undefined) {
        clearInterval(timer)
        timer = undefined
        return
      }
      timer ??= setInterval(draw, DRAW_MS).unref()
      draw() // whoever computes in this thread lets no timer run
    },
    clear: () => {
      line.clear()
    },
  }
}

/** A bar where the end is known, and how long it has taken so far. In a narrow terminal with less of `what`. */
export function progressLine({ doing, what, share }: Activity, seconds: number, width: number): string {
  const full = Math.floor((share ?? 0) * BAR_WIDTH)
  const bar = `${'#'.repeat(full).padEnd(BAR_WIDTH, '.')} ${percent(share ?? 0)} `
  const before = `${doing.padEnd(11)} ${share === undefined ? '' : bar}`
  const after = `, ${Math.floor(seconds)} s`
  const room = Math.max(0, width - before.length - after.length)
  return `${before}${what.slice(0, room)}${after}`.slice(0, width)
}

export const showDownload =
  (progress: Progress) =>
  (received: number, total: number): void => {
    const what = `of ${bytes(total)}`
    progress.show(received === total ? undefined : { doing: 'download', what, share: received / total })
  }

/** To be told the length of each document that has been tokenised, of so many characters in all. */
export function showTokenising(progress: Progress, total: number): (length: number) => void {
  const what = `of ${count(total)} characters`
  let done = 0
  return (length) => {
    done += length
    progress.show({ doing: 'tokenising', what, share: done / total })
  }
}

export const downloadBar = showDownload(createProgress())

/** What others must give, too, to join a peer. */
export interface Invited {
  readonly base: string | undefined
  readonly isPrivate: boolean
  /** Whether whoever is in the local network needs no address. */
  readonly mdns: boolean
}

/** A peer's events, for a person or for a program. */
export function printEvent({
  json,
  quiet,
  invited,
}: {
  readonly json: boolean
  readonly quiet: boolean
  readonly invited: Invited
}): (event: PeerEvent) => void {
  if (quiet) {
    const show = printEvent({ json, quiet: false, invited })
    return (event) => {
      if (event.event === 'result') show(event)
    }
  }
  if (json) return printJson
  let federation = ''
  return (event) => {
    if (event.event === 'federation') federation = event.federation
    for (const line of describe(event)) print(line)
    if (event.event === 'listening')
      for (const line of invitation(event.addresses, federation, invited)) print(line)
  }
}

function describe(event: PeerEvent): string[] {
  switch (event.event) {
    case 'engine':
      return [`engine      ${event.engine}: ${event.device} (${event.reason})`]
    case 'federation':
      return [
        `federation  ${event.name} ${pc.dim(event.federation.slice(0, 16))}${event.isNew ? ' (new)' : ''}`,
      ]
    case 'memory':
      return event.advice === undefined
        ? []
        : [pc.yellow(`memory      ${event.found}`), pc.yellow(`            ${event.advice}`)]
    case 'upnp':
      return event.advice === undefined
        ? [`router      ${event.found}`]
        : [pc.yellow(`router      ${event.found}`), pc.yellow(`            ${event.advice}`)]
    case 'data': {
      const { train, valid, test } = event.tokens
      return [
        `text        ${count(train)} tokens to learn from, ${count(valid)} to validate, ${count(test)} to test`,
      ]
    }
    case 'start':
      return event.round === 0
        ? []
        : [`resuming    after round ${event.round}${event.isOver ? ', and --rounds asks for no more' : ''}`]
    case 'alone':
      return [
        pc.yellow(`alone       ${event.message}`),
        pc.yellow('            it is tried again all the time'),
      ]
    case 'listening':
      return [
        `peer        ${event.peerId}`,
        `page        ${event.http}`,
        `metrics     ${event.http}/metrics`,
        `api         ${event.http}/v1`,
      ]
    case 'base':
      return [`base        validation perplexity ${number(event.valid.perplexity)}`]
    case 'joined':
      return [`joined      at the mean of ${event.copies} ${event.copies === 1 ? 'copy' : 'copies'}`]
    case 'refused':
      return [pc.yellow(`refused     ${event.peer}: ${event.message}`)]
    case 'round':
      return [roundLine(event, outputWidth())]
    case 'result':
      return [
        pc.bold(
          `result      test perplexity ${number(event.test.perplexity)}, the base's ${number(event.baseTest.perplexity)}`,
        ),
        ...event.test.groups.map((group) => `            ${group.name}: ${number(group.perplexity)}`),
      ]
    case 'staying':
      return ['serving     until stopped (ctrl-C)']
    case 'testing':
    case 'consensus':
      return []
  }
}

/** In a narrow terminal without the parts at the end: the page and the metrics have them. */
export function roundLine(event: RoundEvent, width: number): string {
  return lineWithin(width, [
    `round ${String(event.round).padStart(5)}`,
    `train ${event.trainLoss.toFixed(3)}`,
    event.validPerplexity === undefined
      ? ''.padEnd(16)
      : `valid ppl ${number(event.validPerplexity).padStart(6)}`,
    `mixed with ${event.mixedWith}`,
    event.consensusDistance === undefined ? '' : `distance ${event.consensusDistance.toFixed(3)}`,
    `${count(Math.round(event.tokensPerSecond))} tok/s`,
    `${bytes(event.bytes.sent)} out ${bytes(event.bytes.received)} in`,
  ])
}

/** A line no wider than `width`, without as many parts at its end as that takes. An empty part is none. */
export function lineWithin(width: number, parts: readonly string[]): string {
  const line = parts.filter((part) => part !== '').join('  ')
  return line.length <= width || parts.length === 1 ? line : lineWithin(width, parts.slice(0, -1))
}

/** What comes after the first `indent` columns of a line, and goes on below them where there is no room. */
export const hanging = (indent: number, text: string, width = outputWidth()): string =>
  wrapped(text, width - indent).replaceAll('\n', `\n${' '.repeat(indent)}`)

/** What another person types to join. */
export function invitation(
  addresses: readonly string[],
  federation: string,
  { base, isPrivate, mdns }: Invited,
): string[] {
  const address =
    addresses.find((one) => !one.includes('/127.0.0.1/') && !one.includes('/::1/')) ?? addresses[0]
  if (address === undefined) return ['others cannot join: this peer listens nowhere']
  const rest = [
    ...(isPrivate ? ['--psk <the same key>'] : []),
    ...(base === undefined ? [] : [`--base ${base}`]),
    '--data <your text>',
  ].join(' ')
  const line = `to join     npx comigs-peer --bootstrap ${address} ${rest}`
  const nearby = `or nearby   npx comigs-peer --mdns --federation ${federation.slice(0, 16)} ${rest}`
  return mdns ? [line, nearby] : [line]
}

export const count = (value: number): string => value.toLocaleString('en-US')

export const number = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(1))

/** Rounded down: all of it is 100 %, and nothing less. */
export const percent = (share: number): string => `${Math.floor(100 * share)} %`

export function bytes(value: number): string {
  if (value < 1e3) return `${value} B`
  if (value < 1e6) return `${(value / 1e3).toFixed(0)} kB`
  return `${(value / 1e6).toFixed(1)} MB`
}
