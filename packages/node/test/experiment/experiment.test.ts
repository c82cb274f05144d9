import { baseLayout, hubConfig, namedArrays, stream, writeSafetensors } from '@comigs/model'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DEFAULT_BASE } from '../../src/base-folder.ts'
import { isCoded } from '../../src/errors.ts'
import {
  type ExperimentConfig,
  type ExperimentEvent,
  type Run,
  runExperiment,
} from '../../src/experiment/experiment.ts'
import { loadRun, saveRun } from '../../src/experiment/run-file.ts'
import { strategiesNamed } from '../../src/experiment/strategies.ts'
import { findSettings } from '../../src/experiment/suites.ts'

let folder: string
const sentence = (user: string, i: number) =>
  `The ${user} number ${i * 7} was seen near the river at ${i % 24}.\n`

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comigs-experiment-'))
  await writeTinyBase(join(folder, 'base'))
  await mkdir(join(folder, 'animals'))
  for (const user of ['fox', 'owl']) {
    for (const split of ['train', 'valid', 'test']) {
      const text = Array.from({ length: 4 }, (_, i) => sentence(user, i + split.length)).join('')
      await writeFile(join(folder, 'animals', `${user}.${split}.txt`), text)
    }
  }
})
afterAll(() => rm(folder, { recursive: true }))

/** The shipped tokenizer with a model that takes no time. */
async function writeTinyBase(path: string): Promise<void> {
  const shape = { vocabSize: 4096, positions: 32, width: 8, layers: 1, heads: 1, hidden: 16 }
  const model = { architecture: 'gpt2', epsilon: 1e-5, ...shape } as const
  const layout = baseLayout(model)
  const random = stream(1, 'tiny base')
  const values = Float32Array.from({ length: layout.size }, () => random.float() - 0.5)
  await mkdir(path)
  await writeFile(join(path, 'model.safetensors'), writeSafetensors(namedArrays(layout, values), {}))
  await writeFile(join(path, 'config.json'), JSON.stringify(hubConfig(model)))
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(DEFAULT_BASE, file), join(path, file))
}

const config = (out: string, overrides: Partial<ExperimentConfig> = {}): ExperimentConfig => ({
  settings: [{ name: 'animals', folder: join(folder, 'animals'), target: 'mixture' }],
  strategies: strategiesNamed(['comigs-1g1s', 'fedavg']),
  seeds: [42, 45],
  rounds: 2,
  batch: 1,
  context: 16,
  base: join(folder, 'base'),
  engine: 'onnx',
  threads: 1,
  out: join(folder, out),
  ...overrides,
})

async function experiment(
  of: ExperimentConfig,
  stopAfterRounds = Infinity,
): Promise<{ runs: Run[] | undefined; events: ExperimentEvent[] }> {
  const events: ExperimentEvent[] = []
  const stop = new AbortController()
  const rounds = () => events.filter(({ event }) => event === 'round').length
  const running = runExperiment(of, {
    onEvent: (event) => {
      events.push(event)
      if (rounds() >= stopAfterRounds) stop.abort()
    },
    now: () => 0,
    signal: stop.signal,
  })
  const runs = await running.catch((error: unknown) => {
    if (error !== stop.signal.reason) throw error
    return undefined
  })
  return { runs, events }
}

const codeOf = (running: Promise<unknown>): Promise<unknown> =>
  running.then(
    () => 'nothing went wrong',
    (error: unknown) => (isCoded(error) ? error.detail : error),
  )

describe('an experiment', () => {
  it('runs every strategy from every seed, and what was stopped goes on to the same end', async () => {
    const whole = await experiment(config('whole'))
    expect(whole.runs!.map(({ strategy, seed }) => `${strategy} ${seed}`)).toEqual([
      'comigs-1g1s 42',
      'fedavg 42',
      'comigs-1g1s 45',
      'fedavg 45',
    ])
    expect(new Set(whole.runs!.map(({ users }) => users[0]!.mixture)).size).toBe(4)

    const first = await experiment(config('stopped'), 3)
    expect(first.runs).toBeUndefined()
    const kept = await readdir(join(folder, 'stopped', 'runs'))
    expect(kept.map((name) => name.replace(/-\w{8}\./, '.')).sort()).toEqual([
      'animals-mixture-comigs-1g1s-42.json',
      'animals-mixture-fedavg-42.safetensors',
    ])
    const second = await experiment(config('stopped'))
    expect(second.runs).toEqual(whole.runs)
    expect(second.events.filter(({ event }) => event === 'round')).toHaveLength(5)
    const left = await readdir(join(folder, 'stopped', 'runs'))
    expect(left.filter((name) => !name.endsWith('.json'))).toEqual([])

    const third = await experiment(config('stopped'))
    expect(third.runs).toEqual(whole.runs)
    expect(third.events.filter(({ event }) => event === 'testing')).toEqual([])
    expect(third.events.map((event) => event.event === 'run' && event.reused)).toEqual([
      false,
      true,
      true,
      true,
      true,
    ])
  })

  it('does not take the results of other options for its own', async () => {
    const base = { strategies: strategiesNamed(['pretrained']), seeds: [42] }
    await experiment(config('options', base))
    const { events } = await experiment(config('options', { ...base, context: 8 }))
    expect(events.at(-1)).toMatchObject({ event: 'run', reused: false, context: 8 })
  })

  it.each([
    ['a folder that is not there', 'nowhere', { code: 'OPTION_INVALID', option: '--data-set' }],
    ['a text that is too short', 'animals', { code: 'DATA_TOO_SHORT', split: 'train (fox)' }],
  ])('refuses %s', async (_, name, detail) => {
    const settings = [{ name, folder: join(folder, name), target: 'own' as const }]
    expect(await codeOf(experiment(config('refused', { settings, context: 4096 })))).toMatchObject(detail)
  })

  it('says which file of its own it cannot read', async () => {
    const one = config('damaged', { strategies: strategiesNamed(['fedavg']), seeds: [42] })
    await experiment(one, 1)
    const runs = join(one.out, 'runs')
    const [state] = await readdir(runs)
    await writeFile(join(runs, state!), (await readFile(join(runs, state!))).subarray(0, 1000))
    expect(await codeOf(experiment(one))).toMatchObject({ code: 'STATE_UNUSABLE', path: join(runs, state!) })

    await rm(join(runs, state!))
    await writeFile(join(runs, state!.replace('.safetensors', '.json')), '{"strategy":')
    expect(await codeOf(experiment(one))).toMatchObject({ code: 'STATE_UNUSABLE' })
  })
})

it('keeps a run as it is, models of unequal shape and a memory too', async () => {
  const saved = {
    state: {
      round: 3,
      models: [
        {
          arrays: { experts: Float32Array.of(1, 0.1), 'experts.first': Float32Array.of(2) },
          expertSteps: 30,
          routerSteps: 10,
        },
        { arrays: { experts: Float32Array.of(5) }, expertSteps: 30, routerSteps: 0 },
      ],
      memory: [Float32Array.of(3, -0), Float32Array.of(4)],
      curve: [{ round: 3, trainLoss: 0.1, own: 1 / 3, mixture: 2, generalistShare: [0.5] }],
      bytesPerRound: 8,
    },
    seconds: 12.5,
  }
  const path = join(folder, 'run.safetensors')
  await saveRun(path, saved)
  expect(await loadRun(path)).toEqual(saved)
  expect(await loadRun(join(folder, 'none.safetensors'))).toBeUndefined()
})

describe("a suite's data sets", () => {
  it('are found in the folder of further data, and named where they are not', async () => {
    await mkdir(join(folder, 'more', 'agnews'), { recursive: true })
    const { found, missing } = findSettings('table1', join(folder, 'more'))
    expect(found).toContainEqual({
      name: 'agnews',
      folder: join(folder, 'more', 'agnews'),
      target: 'mixture',
    })
    expect(missing).toEqual(['multilingual', 'domains'])
  })
})
