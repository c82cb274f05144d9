import type { Command, Option } from 'commander'
import { readFile } from 'node:fs/promises'
import { parse, YAMLParseError } from 'yaml'
import { z } from 'zod'
import { NodeError } from '../errors.ts'
import { inHome } from './home-folder.ts'
import { nearest } from './suggestion.ts'

/**
 * Gives a command what stands in its `--config` file, where neither a flag nor the environment says it. Keys are the names
 * of the flags; those of other commands that read such files are left to them, so that one file serves all.
 * @param all - every command, that of the peer included
 * @throws NodeError `CONFIG_FILE_INVALID`
 */
export async function applyConfigFile(command: Command, all: readonly Command[]): Promise<void> {
  const path = command.getOptionValue('config') as string | undefined
  if (path === undefined || !readsConfig(command)) return
  const values = await readValues(path)
  const known = [...new Set(all.filter(readsConfig).flatMap(settingsOf).map(keyOf))]
  for (const key of Object.keys(values)) {
    if (known.includes(key)) continue
    const meant = nearest(key, known)
    throw invalid(path, `"${key}" is not known${meant === undefined ? '' : `; did you mean "${meant}"?`}`)
  }
  for (const option of settingsOf(command)) {
    const value = values[keyOf(option)]
    const source = command.getOptionValueSource(option.attributeName())
    if (value === undefined || source === 'cli' || source === 'env') continue
    const parsed = schemaOf(option).safeParse(value)
    if (!parsed.success) throw invalid(path, `"${keyOf(option)}": ${parsed.error.issues[0]!.message}`)
    command.setOptionValueWithSource(option.attributeName(), parsed.data, 'config')
  }
}

/** What can stand in a file: everything that can be given in the environment, but the file itself. */
export const settingsOf = ({ options }: Command): readonly Option[] =>
  options.filter(({ envVar, long }) => envVar !== undefined && long !== '--config')

/** A flag's name: `wait-for-peers`. */
export const keyOf = ({ long }: Option): string => long!.slice(2)

export const readsConfig = ({ options }: Command): boolean => options.some(({ long }) => long === '--config')

async function readValues(path: string): Promise<Readonly<Record<string, unknown>>> {
  let value: unknown
  try {
    value = parse(await readFile(path, 'utf8'))
  } catch (error) {
    const message = error instanceof Error ? error.message.split('\n')[0]! : String(error)
    const reason = error instanceof YAMLParseError ? `is not YAML: ${message}` : `cannot be read: ${message}`
    throw new NodeError({ code: 'CONFIG_FILE_INVALID', path, reason }, { cause: error })
  }
  const values = z.record(z.string(), z.unknown()).safeParse(value ?? {})
  if (!values.success) throw invalid(path, 'must be a mapping of keys to values')
  return values.data
}

/** A value goes through the flag's own parser, so that it means the same wherever it stands. */
function schemaOf(option: Option): z.ZodType {
  if (option.isBoolean()) return z.boolean('expected true or false')
  const one = z.union([z.string(), z.number()], 'expected text or a number')
  const many = option.variadic ? z.union([one, z.array(one)], 'expected text or a list of texts') : one
  return many.transform((value, context): unknown => {
    try {
      const items = [value].flat().map((item) => inHome(option, String(item)))
      const { parseArg } = option
      if (parseArg === undefined) return option.variadic ? items : items[0]
      return items.reduce<unknown>((parsed, item) => parseArg(item, parsed), undefined)
    } catch (error) {
      context.addIssue(error instanceof Error ? error.message : String(error))
      return z.NEVER
    }
  })
}

const invalid = (path: string, reason: string) => new NodeError({ code: 'CONFIG_FILE_INVALID', path, reason })
