// Runs scale.ts as it is. `npm run bench:scale`.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { status } = spawnSync(
  process.execPath,
  [
    '--max-old-space-size=6144',
    '--conditions=@comigs/source',
    '--import',
    './scripts/typescript.mjs',
    'bench/scale/scale.ts',
    ...process.argv.slice(2),
  ],
  { cwd: root, stdio: 'inherit' },
)
process.exit(status ?? 1)
