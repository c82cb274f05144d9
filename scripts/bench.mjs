// `npm run bench:<topic>`: installs and builds what is missing, then runs bench/<topic>/bench.mjs.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'

prepare()

const root = fileURLToPath(new URL('..', import.meta.url))
const [topic, ...args] = process.argv.slice(2)
const { status } = spawnSync(process.execPath, [`bench/${topic}/bench.mjs`, ...args], {
  cwd: root,
  stdio: 'inherit',
})
process.exit(status ?? 1)
