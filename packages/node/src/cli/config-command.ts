import type { Command, Option } from 'commander'
import { type Setting, settledElsewhere } from '../settled.ts'
import { keyOf, settingsOf } from './config-file.ts'
import { bytes, createTable, outputWidth, print, printJson } from './output.ts'
import { addPeerOptions, type PeerFlags } from './peer-command.ts'

/** Told to nobody who looks over a shoulder or at a log. */
const SECRET = ['http-token']

/** `comigs-peer config`: what a peer would run with, and who said so. */
export function addConfigCommand(program: Command): void {
  const command = program
    .command('config')
    .summary('Print what a peer would run with, and who said so.')
    .description(
      "Print what a peer would run with, and where each value comes from. Takes the peer's own options; what those leave open is settled by the federation, the state folder and this machine.",
    )
    .addHelpText('after', '\nExample:\n  npx comigs-peer config --config comigs.yaml')
  addPeerOptions(command)
  command.action(async (flags: PeerFlags & { readonly config?: string }) => {
    const settings = new Map(settingsOf(command).map((one) => [keyOf(one), told(command, one, flags.config)]))
    // What keeps a peer from training is told after what it would have trained with.
    try {
      for await (const setting of settledElsewhere(flags)) settings.set(setting.key, setting)
    } finally {
      if (flags.json === true) settings.forEach(printJson)
      else print(drawn([...settings.values()], outputWidth()))
    }
  })
}

function told(command: Command, option: Option, file: string | undefined): Setting {
  const name = option.attributeName()
  const value: unknown = command.getOptionValue(name)
  const shown = SECRET.includes(keyOf(option)) && value !== undefined ? '(set)' : value
  const source = (command.getOptionValueSource(name) ?? 'default') as Setting['source']
  return { key: keyOf(option), value: shown ?? null, source, from: originOf(source, option.envVar, file) }
}

function originOf(source: Setting['source'], variable: string | undefined, file: string | undefined): string {
  if (source === 'env') return variable!
  if (source === 'config') return file!
  return source === 'cli' ? 'flag' : source
}

/** No wider than a terminal: what is longer goes on in the next line of its cell. */
function drawn(settings: readonly Setting[], width: number): string {
  const table = createTable(['key', 'value', 'from'])
  const longest = Math.max(...settings.map(({ key }) => key.length))
  const room = Math.max(8, Math.floor((width - longest - BORDERS) / 2))
  for (const { key, value, from } of settings)
    table.push([key, broken(shownAs(key, value), room), broken(from, room)])
  return table.toString()
}

/** Of three columns, with a space on either side of each. */
const BORDERS = 10

function shownAs(key: string, value: unknown): string {
  if (value === null) return '-'
  if (value === Infinity) return 'never'
  if (Array.isArray(value)) return value.join(' ')
  if (key === 'memory') return bytes(value as number)
  if (key === 'http') {
    const { host, port } = value as PeerFlags['http']
    return `${host}:${port}`
  }
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** At spaces, or wherever a word is too long. */
function broken(text: string, room: number): string {
  if (text.length <= room) return text
  const space = text.lastIndexOf(' ', room)
  const end = space > 0 ? space : room
  return `${text.slice(0, end)}\n${broken(text.slice(end).trimStart(), room)}`
}
