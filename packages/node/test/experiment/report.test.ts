import { parseHTML } from 'linkedom'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import type { Run } from '../../src/experiment/experiment.ts'
import { cell, sections, tables, writeReport } from '../../src/experiment/report.ts'

const run = (strategy: string, seed: number, own: number, mixture: number): Run => ({
  dataSet: 'languages',
  target: 'mixture',
  strategy,
  seed,
  rounds: 6,
  batch: 8,
  context: 128,
  bytesPerRound: 12_345,
  seconds: 1,
  users: [
    { name: 'de', own: own - 1, mixture: mixture - 10 },
    { name: 'fr', own: own + 1, mixture: mixture + 10 },
  ],
  curve: [3, 6].map((round) => ({
    round,
    trainLoss: 1,
    own,
    mixture: mixture + 6 - round,
    generalistShare: strategy === 'local' ? [] : [0.5, 0.25],
  })),
})
/** What is asked of a document; tests are compiled without the types of a browser. */
interface Queried {
  querySelectorAll(selector: string): Iterable<{ readonly textContent: string }>
}

const RUNS = [
  run('local', 42, 50, 300),
  run('comigs-1g1s', 42, 80, 150),
  run('local', 45, 54, 310),
  run('comigs-1g1s', 45, 80, 152),
  run('local', 47, 52, 305),
  run('comigs-1g1s', 47, 80, 157),
]

it('gives the mean over users, then mean and sample deviation over seeds', () => {
  const [section] = sections(RUNS)
  expect(section!.rows.map(({ strategy }) => strategy)).toEqual(['local', 'comigs-1g1s'])
  expect(section!.rows[0]!.own).toEqual({ mean: 52, deviation: 2 })
  expect(section!.rows[1]!.mixture.mean).toBe(153)
  expect(section!.rows[1]!.mixture.deviation).toBeCloseTo(Math.sqrt(13), 10)
  expect(tables([section!])).toContain('| comigs-1g1s | 80.00 (0.00) | 153.0 (3.6) | 12 |')
  expect(tables([section!])).toContain('| strategy | own | mixture (target) | kB sent a round |')
  expect(cell(sections(RUNS.slice(0, 1))[0]!.rows[0]!.own)).toBe('50.00')
})

it('writes results, tables and plots that show every strategy, user and layer', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'comigs-report-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const files = await writeReport(folder, RUNS)
  expect(files.map((file) => basename(file))).toEqual([
    'results.json',
    'tables.md',
    'rounds-languages-target-mixture.svg',
    'users-languages-target-mixture.svg',
    'router-languages-target-mixture-comigs-1g1s.svg',
  ])
  expect(JSON.parse(await readFile(files[0]!, 'utf8'))).toEqual(RUNS)
  const [rounds, users, router] = await Promise.all(files.slice(2).map((file) => svg(file)))
  expect(rounds!.texts).toEqual(expect.arrayContaining(['local', 'comigs-1g1s', '3', '6']))
  expect(rounds!.lines).toBe(2)
  expect(users!.texts).toEqual(expect.arrayContaining(['local', 'comigs-1g1s', 'de', 'fr']))
  expect(users!.bars).toBe(4)
  expect(router!.texts).toEqual(expect.arrayContaining(['layer 1', 'layer 2']))
  expect(router!.lines).toBe(2)

  async function svg(file: string) {
    const { document } = parseHTML(await readFile(file, 'utf8')) as unknown as { document: Queried }
    const all = (selector: string) => [...document.querySelectorAll(selector)]
    return {
      texts: all('text').map((text) => text.textContent),
      lines: all('[aria-label="line"] path').length,
      bars: all('[aria-label="bar"] rect').length,
    }
  }
})
