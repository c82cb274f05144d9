// Brings a clone to where it can run: dependencies as the lockfile says, TypeScript compiled. Does nothing when both are
// up to date. Everything it prints goes to stderr, so that stdout belongs to the command that follows.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const stamp = `${root}node_modules/.comigs-lock`

export function prepare() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (!(major === 20 && minor >= 19) && !(major === 22 && minor >= 13)) {
    console.error(`comigs needs Node 20.19 or later, or 22.13 or later; this is ${process.versions.node}.`)
    process.exit(2)
  }
  const lock = createHash('sha256')
    .update(readFileSync(`${root}package-lock.json`))
    .update(process.versions.modules)
    .digest('hex')
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== lock) {
    console.error('Installing dependencies (once; about a minute) ...')
    run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
    writeFileSync(stamp, lock)
  }
  // Incremental: under two seconds when nothing changed.
  run(process.execPath, ['node_modules/typescript/bin/tsc', '-b'])
}

function run(command, args) {
  try {
    // stdout of the child joins our stderr.
    execFileSync(command, args, {
      cwd: root,
      stdio: ['ignore', 2, 2],
      env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' },
    })
  } catch (error) {
    console.error(`\`${command} ${args.join(' ')}\` failed: see above.`)
    process.exit(typeof error.status === 'number' ? error.status : 1)
  }
}
