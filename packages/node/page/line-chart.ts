import { colour, onThemeChange } from './colours.ts'

export interface Line {
  readonly label: string
  readonly colour: string
  readonly isDashed?: boolean
  /** By round. */
  readonly points: ReadonlyMap<number, number>
}

export interface LineChart {
  /** @param summary - what a screen reader says instead of the picture */
  draw(lines: readonly Line[], summary: string): void
}

const HEIGHT = 220
/** Rounds are whole. */
const ROUND_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]

/** Lines over rounds (uPlot), with a legend that tells the values under the cursor, or the last ones. */
export function createLineChart(
  host: HTMLElement,
  init: { format(value: number): string; readonly scale: 'log' | 'from zero' },
): LineChart {
  const legend = document.createElement('ul')
  legend.className = 'legend'
  const frame = document.createElement('div')
  frame.setAttribute('role', 'img')
  host.append(legend, frame)
  const isLog = init.scale === 'log'
  let plot: uPlot | undefined
  let lines: readonly Line[] = []
  let shape = ''

  const values = () => {
    const rounds = [...new Set(lines.flatMap(({ points }) => [...points.keys()]))].sort((a, b) => a - b)
    return [
      rounds,
      ...lines.map(({ points }) => rounds.map((round) => points.get(round))),
    ] as uPlot.AlignedData
  }

  const showLegend = (index: number | null | undefined) => {
    const round = index == null ? undefined : plot?.data[0][index]
    legend.replaceChildren(
      ...(round === undefined ? [] : [item(`round ${round}`)]),
      ...lines.map(({ label, colour, isDashed, points }) => {
        const value = round === undefined ? [...points.values()].at(-1) : nearest(points, round)
        return item(`${label} ${value === undefined ? '–' : init.format(value)}`, colour, isDashed)
      }),
    )
  }

  const build = () => {
    plot?.destroy()
    const axis = {
      stroke: colour('muted'),
      grid: { stroke: colour('line'), width: 1 },
      ticks: { show: false },
    }
    plot = new uPlot(
      {
        width: Math.max(frame.clientWidth, 200),
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
        scales: {
          x: { time: false, range: (_, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) },
          // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- uPlot's types have an enum that its code lacks
          y: isLog
            ? { distr: 3, range: (_, low, high) => [low / 1.1, high * 1.1] }
            : { range: (_, __, high) => [0, 1.1 * high || 1] },
        },
        axes: [
          { ...axis, incrs: ROUND_STEPS, size: 30, grid: { show: false } },
          {
            ...axis,
            size: 62,
            values: (_, ticks) => ticks.map(init.format),
            ...(isLog
              ? { splits: (_: uPlot, __: number, low: number, high: number) => logTicks(low, high) }
              : {}),
            filter: (_, ticks) => ticks,
          },
        ],
        series: [
          {},
          ...lines.map(({ label, colour, isDashed = false }) => ({
            label,
            stroke: colour,
            width: isDashed ? 1.5 : 2,
            ...(isDashed ? { dash: [5, 4] } : {}),
            spanGaps: true,
            // No line goes through one point.
            points: {
              show: (_: uPlot, series: number) => lines[series - 1]?.points.size === 1,
              size: 7,
              fill: colour,
            },
          })),
        ],
        hooks: { setCursor: [({ cursor }) => showLegend(cursor.idx)] },
      },
      values(),
      frame,
    )
  }

  const update = () => {
    if (lines.every(({ points }) => points.size === 0)) return
    const wanted = JSON.stringify(lines.map(({ label, colour, isDashed }) => [label, colour, isDashed]))
    if (wanted !== shape) build()
    else plot!.setData(values())
    shape = wanted
    showLegend(plot!.cursor.idx)
  }

  new ResizeObserver(() =>
    plot?.setSize({ width: Math.max(frame.clientWidth, 200), height: HEIGHT }),
  ).observe(frame)
  onThemeChange(() => {
    shape = ''
    update()
  })
  return {
    draw(newLines, summary) {
      lines = newLines
      frame.setAttribute('aria-label', summary)
      update()
    },
  }
}

function item(text: string, colour?: string, isDashed = false): HTMLLIElement {
  const made = document.createElement('li')
  if (colour !== undefined) {
    const swatch = document.createElement('span')
    swatch.className = isDashed ? 'swatch dashed' : 'swatch'
    swatch.style.color = colour
    made.append(swatch)
  }
  made.append(text)
  return made
}

/** Not every round is looked at: the value of the last one that was. */
function nearest(points: ReadonlyMap<number, number>, round: number): number | undefined {
  let found: number | undefined
  for (const [at, value] of points) if (at <= round) found = value
  return found
}

/** Round numbers of every decade; all of them where there is room. */
function logTicks(low: number, high: number): number[] {
  const steps = high / low < 10 ? [1, 1.5, 2, 3, 4, 5, 7] : high / low < 100 ? [1, 2, 5] : [1]
  const decades = Array.from(
    { length: Math.ceil(Math.log10(high)) - Math.floor(Math.log10(low)) + 1 },
    (_, index) => 10 ** (Math.floor(Math.log10(low)) + index),
  )
  return decades
    .flatMap((decade) => steps.map((step) => step * decade))
    .filter((tick) => tick >= low && tick <= high)
}
