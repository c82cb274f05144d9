// `npm run test:simulation`: swarms in one process, from seeds. Without arguments the set that CI runs;
// `-- --seed N` repeats one, `-- --seeds A..B` runs many, `--peers 200` makes their swarms so large, `-- --compare [--seed N]`
// compares only. `npm run attack`: the same with bad peers (test/simulation/attack.ts).
import { spawn } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
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

const flags = flagsOf(args)
const seed = flags.seed === undefined ? undefined : Number(flags.seed)
const [first, last] = seed === undefined ? (flags.seeds?.split('..').map(Number) ?? CI_SEEDS) : [seed, seed]
if (![first, last, Number(flags.peers ?? 8)].every(Number.isInteger)) usage('expected whole numbers')
if (flags.compare) process.exit(await run('compare', ...(seed === undefined ? [] : ['--seed', flags.seed])))

const workers = Math.min(availableParallelism(), last - first + 1)
const seeds = Array.from({ length: workers }, (_, i) =>
  run('main', ...[first + i, last, workers, flags.peers ?? ''].map(String)),
)
// The comparisons run beside the seeds: one after the other they would leave a core without work.
const codes = await Promise.all(args.length === 0 ? [...seeds, run('compare')] : seeds)
process.exit(codes.every((code) => code === 0) ? 0 : 1)

function flagsOf(args) {
  const text = { type: 'string' }
  try {
    return parseArgs({
      args,
      options: { seed: text, seeds: text, peers: text, compare: { type: 'boolean' } },
    }).values
  } catch (error) {
    return usage(error.message)
  }
}

function usage(problem) {
  console.error(problem)
  console.error(
    'usage: npm run test:simulation -- [--seed N | --seeds A..B] [--peers N]\n' +
      '       npm run test:simulation -- --compare [--seed N]',
  )
  process.exit(2)
}
