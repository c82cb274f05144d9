import { reasonOf } from '@comigs/model/light'
import Table from 'cli-table3'
import pc from 'picocolors'
import { destination, type Level, type Logger, multistream, pino } from 'pino'
import pretty from 'pino-pretty'
import { NodeError } from '../errors.ts'
import type { PeerEvent, RoundEvent } from '../events.ts'

/**
 * Logs on stderr, so that stdout stays for results: for people on a terminal, otherwise a JSON object a line.
 * @param level - what goes to stderr
 * @param file - gets everything from info on, whatever goes to stderr
 * @throws NodeError `OPTION_INVALID` when the file cannot be written
 */
export function createLog(level: string, file?: string): Logger {
  // Written at once: a process that dies tells why.
  const terminal = process.stderr.isTTY
    ? pretty({ destination: 2, sync: true, colorize: pc.isColorSupported, singleLine: true })
    : destination(2)
  const streams = level === 'silent' ? [] : [{ level: level as Level, stream: terminal }]
  if (file !== undefined) {
    streams.push({ level: level === 'debug' ? 'debug' : 'info', stream: openLogFile(file) })
  }
  return pino({ base: null, level: streams.length === 0 ? 'silent' : 'debug' }, multistream(streams))
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

/** On stderr, before there is a log. */
export function warn(line: string): void {
  process.stderr.write(`${pc.yellow('warning')}: ${line}\n`)
}

/** The library would colour its lines in a file, too. */
export function createTable(head: string[], style: { readonly compact?: boolean } = {}) {
  const colours = pc.isColorSupported ? { head: ['bold'] } : { head: [], border: [] }
  return new Table({ head, style: { ...style, ...colours } })
}

const BAR_WIDTH = 24

/** A progress bar on stderr, where someone is looking at it. */
export function createBar(name: string) {
  const { isTTY } = process.stderr
  return {
    show(done: number, total: number, text: string): void {
      if (!isTTY) return
      const full = Math.floor((done / total) * BAR_WIDTH)
      process.stderr.write(`\r${name.padEnd(11)} ${'#'.repeat(full).padEnd(BAR_WIDTH, '.')} ${text}`)
    },
    /** Makes room for what comes next. */
    clear(): void {
      if (isTTY) process.stderr.write('\r\u001b[K')
    },
  }
}

export function downloadBar(received: number, total: number): void {
  const bar = createBar('download')
  bar.show(received, total, `${bytes(received)} of ${bytes(total)}`)
  if (received === total) bar.clear()
}

/** A peer's events, for a person or for a program. */
export function printEvent({
  json,
  quiet,
}: {
  readonly json: boolean
  readonly quiet: boolean
}): (event: PeerEvent) => void {
  if (quiet) {
    const show = printEvent({ json, quiet: false })
    return (event) => {
      if (event.event === 'result') show(event)
    }
  }
  if (json) return printJson
  let addresses: readonly string[] = []
  return (event) => {
    if (event.event === 'listening') addresses = event.addresses
    for (const line of describe(event)) print(line)
    if (event.event === 'listening') print(invitation(addresses))
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
    case 'data': {
      const { train, valid, test } = event.tokens
      return [
        `text        ${count(train)} tokens to learn from, ${count(valid)} to validate, ${count(test)} to test`,
      ]
    }
    case 'start':
      return event.round === 0 ? [] : [`resuming    after round ${event.round}`]
    case 'listening':
      return [
        `peer        ${event.peerId}`,
        `page        ${event.http}`,
        `metrics     ${event.http}/metrics`,
        `text        ${event.http}/v1`,
      ]
    case 'base':
      return [`base        validation perplexity ${number(event.valid.perplexity)}`]
    case 'joined':
      return [`joined      at the mean of ${event.copies} ${event.copies === 1 ? 'copy' : 'copies'}`]
    case 'refused':
      return [pc.yellow(`refused     ${event.peer}: ${event.message}`)]
    case 'round':
      return [roundLine(event)]
    case 'result':
      return [
        pc.bold(
          `result      test perplexity ${number(event.test.perplexity)}, the base's ${number(event.baseTest.perplexity)}`,
        ),
        ...event.test.groups.map((group) => `            ${group.name}: ${number(group.perplexity)}`),
      ]
    case 'staying':
      return ['serving     until stopped (ctrl-C)']
    case 'consensus':
      return []
  }
}

function roundLine(event: RoundEvent): string {
  const parts = [
    `round ${String(event.round).padStart(5)}`,
    `train ${event.trainLoss.toFixed(3)}`,
    event.validPerplexity === undefined
      ? ''.padEnd(16)
      : `valid ppl ${number(event.validPerplexity).padStart(6)}`,
    `mixed with ${event.mixedWith}`,
    event.consensusDistance === undefined ? '' : `distance ${event.consensusDistance.toFixed(3)}`,
    `${count(Math.round(event.tokensPerSecond))} tok/s`,
    `${bytes(event.bytes.sent)} out ${bytes(event.bytes.received)} in`,
  ]
  return parts.filter((part) => part !== '').join('  ')
}

/** What another person types to join. */
function invitation(addresses: readonly string[]): string {
  const address =
    addresses.find((one) => !one.includes('/127.0.0.1/') && !one.includes('/::1/')) ?? addresses[0]
  return address === undefined
    ? 'others cannot join: this peer listens nowhere'
    : `to join     comigs-peer --bootstrap ${address} --data <your text>`
}

export const count = (value: number): string => value.toLocaleString('en-US')

export const number = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(1))

export function bytes(value: number): string {
  if (value < 1e3) return `${value} B`
  if (value < 1e6) return `${(value / 1e3).toFixed(0)} kB`
  return `${(value / 1e6).toFixed(1)} MB`
}
