import { colour, onThemeChange } from './colours.ts'
import { type Line, reading } from './line.ts'

export interface LineChart {
  /** @param summary - what a screen reader says instead of the picture */
  draw(lines: readonly Line[], summary: string): void
}

const HEIGHT = 220
/** How far beyond the lines a band may stretch a logarithmic scale: what others say must not flatten our own. */
const STRETCH = 10
/** Of a band's colour, in hexadecimal. */
const OPACITY = '26'
/** Rounds are whole. */
const ROUND_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]

/** What is drawn of a line; of a band, each of its edges. */
type Stroke = Omit<Line, 'upTo'> & { readonly edge?: 'upper' | 'lower' }

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
  let strokes: readonly Stroke[] = []
  let shape = ''

  const values = () => {
    const rounds = [...new Set(strokes.flatMap(({ points }) => [...points.keys()]))].sort((a, b) => a - b)
    return [
      rounds,
      ...strokes.map(({ points }) => rounds.map((round) => points.get(round))),
    ] as uPlot.AlignedData
  }

  const logRange = (low: number, high: number): [number, number] => {
    const edges = strokes.flatMap(({ edge, points }) => (edge === undefined ? [] : [...points.values()]))
    const least = Math.max(Math.min(low, ...edges), low / STRETCH)
    const most = Math.min(Math.max(high, ...edges), high * STRETCH)
    return [least / 1.1, most * 1.1]
  }

  const showLegend = (index: number | null | undefined) => {
    const round = index == null ? undefined : plot?.data[0][index]
    legend.replaceChildren(
      ...(round === undefined ? [] : [item(`round ${round}`)]),
      ...lines.map((line) =>
        item(`${line.label} ${reading(line, init.format, round) ?? '–'}`, line.colour, line.isDashed),
      ),
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
            ? { distr: 3, range: (_, low, high) => logRange(low, high) }
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
          ...strokes.map(({ label, colour, isDashed = false, edge }) => ({
            label,
            stroke: colour,
            width: edge !== undefined ? 1 : isDashed ? 1.5 : 2,
            auto: edge === undefined,
            ...(isDashed ? { dash: [5, 4] } : {}),
            spanGaps: true,
            // No line goes through one point.
            points: {
              show: (_: uPlot, series: number) => strokes[series - 1]?.points.size === 1,
              size: 7,
              fill: colour,
            },
          })),
        ],
        // The first series is the axis.
        bands: strokes.flatMap(({ edge, colour }, index) =>
          edge === 'upper' ? [{ series: [index + 1, index + 2], fill: colour + OPACITY }] : [],
        ),
        hooks: { setCursor: [({ cursor }) => showLegend(cursor.idx)] },
      },
      values(),
      frame,
    )
  }

  const update = () => {
    if (strokes.every(({ points }) => points.size === 0)) return
    const wanted = JSON.stringify(
      strokes.map(({ label, colour, isDashed, edge }) => [label, colour, isDashed, edge]),
    )
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
      strokes = newLines.flatMap(strokesOf)
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

function strokesOf({ upTo, ...line }: Line): Stroke[] {
  return upTo === undefined
    ? [line]
    : [
        { ...line, points: upTo, edge: 'upper' },
        { ...line, edge: 'lower' },
      ]
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
