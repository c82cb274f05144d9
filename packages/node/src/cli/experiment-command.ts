import type { EngineName } from '@comigs/model'
import { Argument, type Command, InvalidArgumentError } from 'commander'
import { basename, join } from 'node:path'
import { DEFAULT_BASE, resolveBase } from '../base-folder.ts'
import type { ExperimentEvent } from '../experiment/experiment.ts'
import type { Target } from '../experiment/federation.ts'
import { STRATEGIES, strategiesNamed } from '../experiment/strategies.ts'
import { findSettings, type SuiteName, SUITES } from '../experiment/suites.ts'
import { withShortHelp, wrapped } from './help.ts'
import { option, shared, wholeNumber } from './options.ts'
import {
  createProgress,
  downloadBar,
  hanging,
  lineWithin,
  number,
  outputWidth,
  percent,
  print,
  printJson,
  printNote,
  type Progress,
} from './output.ts'
import { stopSignal } from './stop-signal.ts'

interface Flags {
  readonly dataSet?: string
  readonly target: Target
  readonly strategies?: string[]
  readonly seeds: readonly number[]
  readonly rounds?: number
  readonly batch: number
  readonly context: number
  readonly base?: string
  readonly engine: EngineName | 'auto'
  readonly threads: number
  readonly out?: string
  readonly json?: boolean
}

const ESSENTIAL = [
  '--data-set',
  '--strategies',
  '--seeds',
  '--rounds',
  '--threads',
  '--out',
  '--config',
  '--json',
]

/** `comigs-peer experiment`: the paper's comparisons, on one machine. */
export function addExperimentCommand(program: Command): void {
  const suites = Object.entries(SUITES).map(([name, { says }]) => `  ${name.padEnd(8)} ${says}`)
  const command = program
    .command('experiment')
    .summary('Compare strategies on data sets from seeds.')
    .description('Compare strategies on data sets, in one process; stopped, it goes on later.')
    .addArgument(new Argument('<suite>', 'what to compare').choices(Object.keys(SUITES)))
    .addOption(option('--data-set <folder>', "instead of the suite's: <user>.{train,valid,test}.txt[.gz]"))
    .addOption(
      option('--target <text>', 'with --data-set: what a user wants to be good at')
        .choices(['own', 'mixture'])
        .default('mixture'),
    )
    .addOption(option('--strategies <a,b>', "instead of the suite's").argParser((text) => text.split(',')))
    .addOption(option('--seeds <a,b>', 'a run from each').argParser(seeds).default([42], '42'))
    .addOption(option('--rounds <n>', "of ten steps (default: the suite's)").argParser(wholeNumber(1)))
    .addOption(shared.batch())
    .addOption(shared.context())
    .addOption(shared.base())
    .addOption(shared.engine())
    .addOption(shared.threads())
    .addOption(option('--out <folder>', 'where results go (default: .comigs/experiments/<suite>)'))
    .addOption(shared.config())
    .addOption(shared.json())
    .addHelpText(
      'after',
      `
Suites (the paper's kinds of data sets are looked for in folder COMIGS_DATA):
${suites.join('\n')}

${wrapped(`Strategies: ${STRATEGIES.map(({ name }) => name).join(', ')}`)}

Example:
  npx comigs-peer experiment quick --strategies local,comigs-1g1s --threads 2`,
    )
    .action(experiment)
  withShortHelp(command, ESSENTIAL)
}

async function experiment(suite: SuiteName, flags: Flags): Promise<void> {
  // The engine belongs to the process that computes; this command does nothing else.
  const { runExperiment } = await import('../experiment/experiment.ts')
  const { tables, sections, writeReport } = await import('../experiment/report.ts')
  const progress = createProgress(flags.json !== true && process.stdout.isTTY)
  const view = flags.json === true ? jsonView : process.stdout.isTTY ? liveView(progress) : lineView
  const { dataSet, target } = flags
  const { found, missing } =
    dataSet === undefined
      ? findSettings(suite, process.env['COMIGS_DATA'])
      : { found: [{ name: basename(dataSet), folder: dataSet, target }], missing: [] }
  for (const name of missing)
    process.stderr.write(
      `skipped: data set ${name}, which is neither in data/ nor in the folder that COMIGS_DATA names\n`,
    )
  const out = flags.out ?? join('.comigs', 'experiments', suite)
  const config = {
    settings: found,
    strategies: strategiesNamed(flags.strategies ?? SUITES[suite].strategies),
    seeds: flags.seeds,
    rounds: flags.rounds ?? SUITES[suite].rounds,
    batch: flags.batch,
    context: flags.context,
    base: (await resolveBase(flags.base, downloadBar)) ?? DEFAULT_BASE,
    engine: flags.engine,
    threads: flags.threads,
    out,
  }
  const signal = stopSignal(() => {
    progress.show(undefined)
    printNote("stopping: waits for one user's steps; the round is done again later")
  })
  try {
    const runs = await runExperiment(config, { onEvent: view, now: () => performance.now(), signal })
    const files = await writeReport(out, runs)
    if (flags.json === true) printJson({ event: 'result', files })
    else print(`\n${tables(sections(runs))}\nWritten: ${files.join(', ')}`)
  } catch (error) {
    if (error !== signal.reason) throw error
    process.stderr.write('stopped; the same command goes on from here\n')
  } finally {
    progress.show(undefined)
  }
}

function seeds(text: string): number[] {
  const values = text.split(',').map(Number)
  if (values.every((value) => Number.isInteger(value) && value >= 0)) return values
  throw new InvalidArgumentError('expected whole numbers from 0, with commas between them')
}

const jsonView = (event: ExperimentEvent): void => {
  printJson(event)
}

const lineView = (event: ExperimentEvent): void => {
  print(describe(event))
}

/** What goes on in a line that is redrawn, results in lines that stay. */
const liveView =
  (progress: Progress) =>
  (event: ExperimentEvent): void => {
    if (event.event === 'round') {
      progress.show({ doing: 'training', what: `${event.run}, round ${event.round} of ${event.rounds}` })
    } else if (event.event === 'testing') {
      progress.show({ doing: 'testing', what: `${event.run}, ${percent(event.share)}` })
    } else {
      progress.clear()
      print(describe(event))
      progress.show({ doing: 'beginning', what: 'with a first round' })
    }
  }

function describe(event: ExperimentEvent): string {
  switch (event.event) {
    case 'engine':
      return `engine      ${hanging(12, `${event.engine}: ${event.device} (${event.reason})`)}`
    case 'round':
      return `${event.run}  round ${event.round} of ${event.rounds}  train loss ${event.trainLoss.toFixed(3)}`
    case 'testing':
      return `${event.run}  testing ${percent(event.share)}`
    case 'run':
      return runLine(event, outputWidth())
  }
}

/** In a narrow terminal without the parts at the end: the tables have them. */
export function runLine(event: Extract<ExperimentEvent, { event: 'run' }>, width: number): string {
  const { finished, of, dataSet, target, strategy, seed, users, seconds, reused } = event
  const mean = (which: Target) => users.reduce((sum, user) => sum + user[which], 0) / users.length
  return lineWithin(width, [
    `[${finished}/${of}] ${strategy}, ${dataSet}`,
    `own ${number(mean('own'))}`,
    `mixture ${number(mean('mixture'))}`,
    reused ? 'from an earlier run' : `${Math.round(seconds)} s`,
    `seed ${seed}`,
    `target ${target}`,
  ])
}
