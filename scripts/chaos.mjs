// `npm run test:chaos`: eight real peers under fire; see test/chaos/README.md. `-- --minutes 30` for longer, `-- --seed N` to
// repeat, `-- --peers 18` for a swarm that divides into cells, `--json`.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'

prepare()

const node = ['--conditions=@comigs/source', '--import', './scripts/typescript.mjs']
spawn(process.execPath, [...node, 'test/chaos/main.ts', ...process.argv.slice(2)], {
  cwd: fileURLToPath(new URL('..', import.meta.url)),
  stdio: 'inherit',
}).on('exit', (code) => process.exit(code ?? 1))
