import type { Option } from 'commander'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** What an option takes that names files: `--allow` takes lists of peers, too. */
const PATHS = /<(?:file|folder|path|peer)(?:\.\.\.)?>$/

/** `~/` in a path, which on the command line a shell expands, and in a variable or a file nobody. */
export const inHome = ({ flags }: Option, value: string): string =>
  PATHS.test(flags) && value.startsWith('~/') ? join(homedir(), value.slice(2)) : value
