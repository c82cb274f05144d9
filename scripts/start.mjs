// `npm start`: installs and builds what is missing, then runs the demo. Arguments go to `comigs-peer swarm`.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'

prepare()

const root = fileURLToPath(new URL('..', import.meta.url))
const demo = ['--data-set', 'data/multilingual-cc0', '--target', 'mixture', '--rounds', '24']
const child = spawn(
  process.execPath,
  ['packages/node/dist/cli/main.js', 'swarm', ...demo, ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: 'inherit',
  },
)
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
child.on('exit', (code, signal) => process.exit(signal === null ? code : 1))
