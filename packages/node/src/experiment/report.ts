import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { meanOf, type Perplexities } from './federation.ts'
import { barPlot, linePlot } from './plot.ts'
import type { Run } from './experiment.ts'
import { replaceFile } from '../replace-file.ts'

/** One strategy on one data set, over seeds. */
export interface Row {
  readonly strategy: string
  readonly own: Spread
  readonly mixture: Spread
  readonly bytesPerRound: number
  readonly runs: readonly Run[]
}

/** Mean over users, then mean and deviation over seeds, as in the paper. */
export interface Spread {
  readonly mean: number
  /** Of a sample; undefined from one seed. */
  readonly deviation: number | undefined
}

/** Runs on one data set with one target. */
export interface Section {
  readonly name: string
  readonly target: Run['target']
  readonly rows: readonly Row[]
}

export function sections(runs: readonly Run[]): Section[] {
  const bySetting = groupBy(runs, ({ dataSet, target }) => `${dataSet}, target ${target}`)
  return [...bySetting].map(([name, ofSetting]) => ({
    name,
    target: ofSetting[0]!.target,
    rows: [...groupBy(ofSetting, ({ strategy }) => strategy)].map(([strategy, ofStrategy]) => ({
      strategy,
      own: spread(ofStrategy, 'own'),
      mixture: spread(ofStrategy, 'mixture'),
      bytesPerRound: ofStrategy[0]!.bytesPerRound,
      runs: ofStrategy,
    })),
  }))
}

function spread(runs: readonly Run[], of: keyof Perplexities): Spread {
  const values = runs.map(({ users }) => meanOf(users.map((user) => user[of])))
  const mean = meanOf(values)
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1)
  return { mean, deviation: values.length > 1 ? Math.sqrt(variance) : undefined }
}

/** Writes `results.json`, `tables.md` and the plots. @returns the files */
export async function writeReport(out: string, runs: readonly Run[]): Promise<string[]> {
  await mkdir(out, { recursive: true })
  const all = sections(runs)
  const files = {
    'results.json': `${JSON.stringify(runs, null, 2)}\n`,
    'tables.md': tables(all),
    ...plots(all),
  }
  for (const [name, content] of Object.entries(files)) await replaceFile(join(out, name), content)
  return Object.keys(files).map((name) => join(out, name))
}

export function tables(all: readonly Section[]): string {
  return all
    .map(({ name, target, rows }) => {
      const { rounds, batch, context, users } = rows[0]!.runs[0]!
      const seeds = [...new Set(rows.flatMap(({ runs }) => runs.map(({ seed }) => seed)))]
      const head = (of: Run['target']) => (of === target ? `${of} (target)` : of)
      return [
        `### ${name}`,
        '',
        `Test perplexity, lower is better. ${users.length} users, ${rounds} rounds, batch ${batch} × ${context}, seeds ${seeds.join(', ')}.`,
        '',
        `| strategy | ${head('own')} | ${head('mixture')} | kB sent a round |`,
        '| --- | ---: | ---: | ---: |',
        ...rows.map(
          ({ strategy, own, mixture, bytesPerRound }) =>
            `| ${strategy} | ${cell(own)} | ${cell(mixture)} | ${(bytesPerRound / 1000).toFixed(0)} |`,
        ),
        '',
      ].join('\n')
    })
    .join('\n')
}

export function cell({ mean, deviation }: Spread): string {
  const digits = mean >= 100 ? 1 : 2
  return `${mean.toFixed(digits)}${deviation === undefined ? '' : ` (${deviation.toFixed(digits)})`}`
}

function plots(all: readonly Section[]): Record<string, string> {
  const files: Record<string, string> = {}
  for (const { name, target, rows } of all) {
    const slug = name.replace(/[^\w-]+/g, '-')
    files[`rounds-${slug}.svg`] = linePlot({
      title: `${name}: validation perplexity`,
      x: 'round',
      logarithmic: true,
      points: rows.flatMap(({ strategy, runs }) => curve(runs, (point) => point[target], strategy)),
    })
    files[`users-${slug}.svg`] = barPlot({
      title: `${name}: test perplexity of each user`,
      bars: rows.flatMap(({ strategy, runs }) =>
        runs[0]!.users.map((user, i) => ({
          group: user.name,
          series: strategy,
          value: meanOf(runs.map(({ users }) => users[i]![target])),
        })),
      ),
    })
    for (const { strategy, runs } of rows) {
      const layers = runs[0]!.curve.at(-1)?.generalistShare.length ?? 0
      if (layers === 0) continue
      files[`router-${slug}-${strategy}.svg`] = linePlot({
        title: `${name}, ${strategy}: mean score that routers give expert 0`,
        x: 'round',
        logarithmic: false,
        points: Array.from({ length: layers }, (_, layer) =>
          curve(runs, (point) => point.generalistShare[layer]!, `layer ${layer + 1}`),
        ).flat(),
      })
    }
  }
  return files
}

/** Mean over seeds of something that is measured over the rounds. */
function curve(runs: readonly Run[], of: (point: Run['curve'][number]) => number, series: string) {
  return runs[0]!.curve.map(({ round }, i) => ({
    x: round,
    y: meanOf(runs.map((run) => of(run.curve[i]!))),
    series,
  }))
}

function groupBy<T>(list: readonly T[], key: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const one of list) groups.set(key(one), [...(groups.get(key(one)) ?? []), one])
  return groups
}
