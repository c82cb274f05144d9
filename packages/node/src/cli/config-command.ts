import type { Command } from 'commander'
import { keyOf, settingsOf } from './config-file.ts'
import { addPeerOptions } from './peer-command.ts'
import { createTable, print, printJson } from './output.ts'

/** Told to nobody who looks over a shoulder or at a log. */
const SECRET = ['http-token']

/** `comigs-peer config`: what a peer would run with, and who said so. */
export function addConfigCommand(program: Command): void {
  const command = program
    .command('config')
    .summary('Print what a peer would run with, and who said so.')
    .description(
      "Print what a peer would run with, and where each value comes from. Takes the peer's own options.",
    )
    .addHelpText('after', '\nExample:\n  npx comigs-peer config --batch 4')
  addPeerOptions(command)
  command.action((flags: { readonly config?: string; readonly json?: boolean }) => {
    const settings = settingsOf(command).map((option) => {
      const name = option.attributeName()
      const value: unknown = command.getOptionValue(name)
      const shown = SECRET.includes(keyOf(option)) && value !== undefined ? '(set)' : value
      const source = command.getOptionValueSource(name) ?? 'default'
      return {
        key: keyOf(option),
        value: shown ?? null,
        source,
        from: originOf(source, option.envVar, flags.config),
      }
    })
    if (flags.json === true) {
      for (const setting of settings) printJson(setting)
      return
    }
    const table = createTable(['key', 'value', 'from'])
    for (const { key, value, from } of settings) table.push([key, shownAs(value), from])
    print(table.toString())
  })
}

function originOf(source: string, variable: string | undefined, file: string | undefined): string {
  if (source === 'env') return variable!
  if (source === 'config') return file!
  return source === 'cli' ? 'flag' : source
}

function shownAs(value: unknown): string {
  if (value === null) return '-'
  if (Array.isArray(value)) return value.join(' ')
  return typeof value === 'string' ? value : JSON.stringify(value)
}
