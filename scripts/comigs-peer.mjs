// `npm run comigs-peer -- ...` in a clone: installs and builds what is missing, then is `comigs-peer`.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'

prepare()

const main = fileURLToPath(new URL('../packages/node/dist/cli/main.js', import.meta.url))
// npm runs scripts in the repository; paths are meant from where the user stands.
const child = spawn(process.execPath, [main, ...process.argv.slice(2)], {
  cwd: process.env.INIT_CWD,
  stdio: 'inherit',
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
child.on('exit', (code, signal) => process.exit(signal === null ? code : 1))
