// `npm run test:simulation`: swarms in one process, from seeds. Without arguments the set that CI runs;
// `-- --seed N` repeats one, `-- --seeds A..B` runs many, `-- --compare [--seed N]` compares only. `npm run attack`: the same with bad
// peers (test/simulation/attack.ts).
import { spawn } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'

prepare()

/** With the comparisons 300 s of CPU time on a busy machine: at most two and a half minutes on two cores. */
const CI_SEEDS = [1, 24]

const root = fileURLToPath(new URL('..', import.meta.url))
const run = (program, ...args) =>
  new Promise((resolve) => {
    const node = ['--conditions=@comigs/source', '--import', './scripts/typescript.mjs']
    spawn(process.execPath, [...node, `test/simulation/${program}.ts`, ...args], {
      cwd: root,
      stdio: 'inherit',
    }).on('exit', (code) => resolve(code ?? 1))
  })

const [mode, ...args] = process.argv.slice(2)
if (mode === 'attack') process.exit(await run('attack', ...args))

const [option, value] = args
if (option === '--compare') process.exit(await run('compare', ...args.slice(1)))
const [first, last] =
  option === undefined
    ? CI_SEEDS
    : option === '--seed'
      ? [Number(value), Number(value)]
      : option === '--seeds'
        ? value.split('..').map(Number)
        : [NaN, NaN]
if (!Number.isInteger(first) || !Number.isInteger(last)) {
  console.error('usage: npm run test:simulation -- [--seed N | --seeds A..B | --compare [--seed N]]')
  process.exit(2)
}
const workers = Math.min(availableParallelism(), last - first + 1)
const seeds = Array.from({ length: workers }, (_, i) =>
  run('main', String(first + i), String(last), String(workers)),
)
// The comparisons run beside the seeds: one after the other they would leave a core without work.
const codes = await Promise.all(option === undefined ? [...seeds, run('compare')] : seeds)
process.exit(codes.every((code) => code === 0) ? 0 : 1)
