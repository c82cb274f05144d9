import {
  type BaseModel,
  createLearner,
  type Engine,
  type EngineName,
  type Learner,
  loadBase,
  loadTokenizer,
  type MixtureConfig,
  placeBase,
  selectEngine,
} from '@comigs/model'
import { createHash } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { NodeError } from '../errors.ts'
import { inFifths } from '../fifths.ts'
import { PAPER } from '../paper.ts'
import { loadUsers, type User } from './data.ts'
import { type FederationResult, runFederation } from './federation.ts'
import { loadRun, removeRun, saveRun } from './run-file.ts'
import type { Strategy } from './strategy.ts'
import type { Setting } from './suites.ts'
import { replaceFile } from '../replace-file.ts'

export interface ExperimentConfig {
  readonly settings: readonly Setting[]
  readonly strategies: readonly Strategy[]
  readonly seeds: readonly number[]
  readonly rounds: number
  readonly batch: number
  readonly context: number
  /** Hugging Face folder. */
  readonly base: string
  readonly engine: EngineName | 'auto'
  readonly threads: number
  /** Where finished runs are, and the one that is under way. */
  readonly out: string
}

/** One strategy on one data set from one seed. */
export interface Run extends FederationResult {
  readonly dataSet: string
  readonly target: Setting['target']
  readonly strategy: string
  readonly seed: number
  readonly rounds: number
  readonly batch: number
  readonly context: number
  readonly seconds: number
}

export type ExperimentEvent =
  | {
      readonly event: 'engine'
      readonly engine: EngineName
      readonly device: string
      readonly reason: string
    }
  | {
      readonly event: 'round'
      readonly run: string
      readonly round: number
      readonly rounds: number
      readonly trainLoss: number
    }
  /** After the last round. How much of the test is done, in fifths, from 0 on. */
  | { readonly event: 'testing'; readonly run: string; readonly share: number }
  | ({
      readonly event: 'run'
      readonly finished: number
      readonly of: number
      readonly reused: boolean
    } & Run)

export interface ExperimentInit {
  onEvent(event: ExperimentEvent): void
  /** In milliseconds. */
  now(): number
  readonly signal: AbortSignal
}

/** Bump when a change to the code changes results: a folder then computes them anew. */
const FORMAT = 1

/**
 * Every strategy on every data set from every seed, one after the other. What an earlier call with the same folder has
 * finished is taken from there, and what it had begun goes on: the results are those of a run that nobody stopped.
 * @throws the signal's reason when stopped by it
 */
export async function runExperiment(
  config: ExperimentConfig,
  { onEvent, now, signal }: ExperimentInit,
): Promise<Run[]> {
  await mkdir(join(config.out, 'runs'), { recursive: true })
  const { engine, reason } = await selectEngine(config)
  onEvent({ event: 'engine', engine: engine.name, device: engine.device, reason })
  const base = await loadBase(config.base)
  const tokenizer = await loadTokenizer(config.base)
  placeBase(engine, base)
  const learner = learners(engine, base, config)
  const runs: Run[] = []
  const of = config.settings.length * config.seeds.length * config.strategies.length
  try {
    for (const setting of config.settings) {
      const users = await loadUsers(setting.folder, tokenizer, config.context)
      for (const seed of config.seeds) {
        for (const strategy of config.strategies) {
          const { rounds, batch, context } = config
          const what = {
            dataSet: setting.name,
            target: setting.target,
            strategy: strategy.name,
            seed,
            rounds,
            batch,
            context,
          }
          const files = filesOf(config.out, what, [base.hashes.weights, hashOf(users), String(FORMAT)])
          const found = await finished(files.result)
          if (found !== undefined) {
            runs.push(found)
            onEvent({ event: 'run', finished: runs.length, of, reused: true, ...found })
            continue
          }
          const from = await loadRun(files.state)
          const started = now() - 1000 * (from?.seconds ?? 0)
          const seconds = () => (now() - started) / 1000
          const result = await runFederation({
            ...what,
            strategy,
            users,
            learner,
            from: from?.state,
            save: (state) => saveRun(files.state, { state, seconds: seconds() }),
            onRound: (round, trainLoss) => {
              onEvent({ event: 'round', run: runName(what), round, rounds, trainLoss })
            },
            onTest: inFifths((share) => {
              onEvent({ event: 'testing', run: runName(what), share })
            }),
            signal,
          })
          const run: Run = { ...what, ...result, seconds: seconds() }
          await replaceFile(files.result, `${JSON.stringify(run, null, 2)}\n`)
          await removeRun(files.state)
          runs.push(run)
          onEvent({ event: 'run', finished: runs.length, of, reused: false, ...run })
        }
      }
    }
  } finally {
    engine.dispose()
  }
  return runs
}

/** One for each shape, so that all users, strategies and seeds of a shape share its compiled steps. */
function learners(engine: Engine, base: BaseModel, { context }: ExperimentConfig) {
  const { weightDecay, balance } = PAPER
  const made = new Map<string, Learner>()
  return (mixture: MixtureConfig, batch: number, leaky = false): Learner => {
    const key = JSON.stringify([mixture, batch, leaky])
    const options = { mixture, batch, context, weightDecay, balance, leaky }
    const found = made.get(key) ?? createLearner(engine, base, options)
    made.set(key, found)
    return found
  }
}

type What = Omit<Run, keyof FederationResult | 'seconds'>

const runName = ({ dataSet, target, strategy, seed }: What): string =>
  `${dataSet}-${target}-${strategy}-${seed}`

function filesOf(out: string, what: What, inputs: readonly string[]): { result: string; state: string } {
  const hash = createHash('sha256')
    .update(JSON.stringify([what, inputs]))
    .digest('hex')
  const path = join(out, 'runs', `${runName(what)}-${hash.slice(0, 8)}`)
  return { result: `${path}.json`, state: `${path}.safetensors` }
}

function hashOf(users: readonly User[]): string {
  const hash = createHash('sha256')
  for (const { train, valid, test } of users)
    for (const { tokens } of [train, valid, test]) hash.update(tokens)
  return hash.digest('hex')
}

async function finished(path: string): Promise<Run | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as Run
  } catch (error) {
    const reason = 'it is not JSON; delete it to have that run again'
    throw new NodeError({ code: 'STATE_UNUSABLE', path, reason }, { cause: error })
  }
}
