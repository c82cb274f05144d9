// `npm run fuzz`: a million mutated frames at each decoder, 10,000 mutated streams at each handler. `-- --seed 7 --frames
// 1e5 --streams 1e3` for others or fewer. What the tests run every time is a small part of it.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { prepare } from './prepare.mjs'

const { values: flags } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    frames: { type: 'string', default: '1000000' },
    streams: { type: 'string', default: '10000' },
  },
})
prepare()

console.log(`fuzzing with --seed ${flags.seed}`)
const { status } = spawnSync(
  process.execPath,
  [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--testTimeout',
    '7200000',
    'packages/protocol/test/fuzz.test.ts',
  ],
  {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    stdio: 'inherit',
    env: { ...process.env, FUZZ_FRAMES: flags.frames, FUZZ_STREAMS: flags.streams, FUZZ_SEED: flags.seed },
  },
)
process.exit(status ?? 1)
