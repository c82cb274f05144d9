import type { Command } from 'commander'
import { z } from 'zod'
import { NodeError } from '../errors.ts'
import { inHome } from './home-folder.ts'
import { nearest } from './suggestion.ts'

/** What every variable of ours begins with. */
export const PREFIX = 'COMIGS_PEER_'

const SWITCH = z.stringbool({ truthy: ['true', '1', 'yes'], falsy: ['false', '0', 'no'] })

/**
 * Gives a command's options what their variables mean: commander takes a variable of any value for a flag that was given,
 * and a list for one value. Several values in one variable are separated by spaces; on the command line and in a file each
 * stands alone, since a path may hold spaces.
 * @throws NodeError `OPTION_INVALID`
 */
export function applyEnvironment(command: Command): void {
  for (const one of command.options) {
    const name = one.attributeName()
    if (command.getOptionValueSource(name) !== 'env') continue
    if (one.isBoolean()) {
      const option = one.envVar!
      const value = process.env[option] ?? ''
      const parsed = SWITCH.safeParse(value)
      if (!parsed.success) {
        const reason = 'is neither true nor false (1 and 0, yes and no mean the same)'
        throw new NodeError({ code: 'OPTION_INVALID', option, value, reason })
      }
      command.setOptionValueWithSource(name, parsed.data, 'env')
    } else if (one.parseArg === undefined) {
      const value = process.env[one.envVar!]!
      const words = value.split(/\s+/).filter((word) => word !== '')
      const meant = one.variadic ? words.map((word) => inHome(one, word)) : inHome(one, value)
      command.setOptionValueWithSource(name, meant, 'env')
    }
  }
}

/**
 * Variables that are nearly ours, each with what was meant. Nobody is refused for one: what an orchestrator puts into the
 * environment may begin like ours.
 * @param all - every command
 */
export function misspeltVariables(all: readonly Command[]): readonly (readonly [string, string])[] {
  const known = all.flatMap(({ options }) => options.flatMap(({ envVar }) => envVar ?? []))
  return Object.keys(process.env).flatMap((name) => {
    const meant = name.startsWith(PREFIX) && !known.includes(name) ? nearest(name, known) : undefined
    return meant === undefined ? [] : [[name, meant] as const]
  })
}
