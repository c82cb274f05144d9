// Brings a clone to where it can run: dependencies as the lockfile says, TypeScript compiled. Does nothing when both are
// up to date, by whatever means. Everything it prints goes to stderr, so that stdout belongs to the command that follows.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
/** npm's own note of what it installed, the last thing that it writes. */
const installed = `${root}node_modules/.package-lock.json`

export function prepare() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (!(major === 20 && minor >= 19) && !(major === 22 && minor >= 13)) {
    console.error(
      `comigs needs Node 20 (20.19 or later) or 22 (22.13 or later); this is ${process.versions.node}.`,
    )
    process.exit(2)
  }
  if (!isInstalled()) {
    console.error('Installing dependencies (once; about a minute) ...')
    run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
  }
  // Incremental: under two seconds when nothing changed.
  run(process.execPath, ['node_modules/typescript/bin/tsc', '-b'])
}

/** Whether every package of the lockfile is there; optional ones, most of which are for other systems, may be absent. */
function isInstalled() {
  if (!existsSync(installed)) return false
  const present = packagesOf(installed)
  return Object.entries(packagesOf(`${root}package-lock.json`)).every(([path, { integrity, optional }]) =>
    path in present ? present[path].integrity === integrity : optional || path === '',
  )
}

const packagesOf = (lockfile) => JSON.parse(readFileSync(lockfile, 'utf8')).packages

function run(command, args) {
  try {
    // stdout of the child joins our stderr.
    execFileSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] })
  } catch (error) {
    console.error(`\`${command} ${args.join(' ')}\` failed: see above.`)
    process.exit(typeof error.status === 'number' ? error.status : 1)
  }
}
