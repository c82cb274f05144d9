// Plots as SVG text, without a browser.
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'

interface Titled {
  readonly title: string
  /** Label of the axis. */
  readonly y: string
}

/** A line for each series, named at its end. */
export function linePlot(plot: {
  readonly title: string
  readonly x: string
  readonly y: string
  readonly logarithmic: boolean
  readonly points: readonly { readonly x: number; readonly y: number; readonly series: string }[]
}): string {
  const { points } = plot
  const line = { x: 'x', y: 'y', z: 'series', stroke: 'series' }
  return draw(plot, {
    marginRight: 150,
    x: { label: plot.x, ticks: [...new Set(points.map(({ x }) => x))], tickFormat: String },
    y: {
      label: plot.y,
      grid: true,
      nice: true,
      ...(plot.logarithmic ? { type: 'log' } : { domain: [0, 1] }),
    },
    marks: [
      Plot.line(points, { ...line, marker: 'circle' }),
      Plot.text(
        points,
        Plot.selectLast({ x: 'x', y: 'y', z: 'series', text: 'series', textAnchor: 'start', dx: 8 }),
      ),
    ],
  })
}

/** Bars side by side in groups, coloured by series. */
export function barPlot(plot: {
  readonly title: string
  readonly y: string
  readonly bars: readonly { readonly group: string; readonly series: string; readonly value: number }[]
}): string {
  const series = [...new Set(plot.bars.map((bar) => bar.series))]
  return draw(plot, {
    marginBottom: 110,
    x: { axis: null, domain: series },
    fx: { label: null, axis: 'top' },
    y: { label: plot.y, grid: true, nice: true },
    color: { domain: series },
    marks: [
      Plot.barY(plot.bars, { fx: 'group', x: 'series', y: 'value', fill: 'series' }),
      Plot.axisX({ tickRotate: -60, label: null }),
      Plot.ruleY([0]),
    ],
  })
}

/** What we use of an element; this package is compiled without the types of a browser. */
interface Element {
  setAttribute(name: string, value: string): void
  readonly outerHTML: string
}

function draw({ title }: Titled, { marks = [], ...options }: Plot.PlotOptions): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>') as unknown as {
    document: never
  }
  const heading = Plot.text([title], {
    frameAnchor: 'top-left',
    dx: -57,
    dy: -54,
    fontWeight: 'bold',
    fontSize: 13,
  })
  const svg = Plot.plot({
    document,
    width: 720,
    height: 380,
    marginTop: 58,
    marginLeft: 60,
    style: { background: 'white' },
    ...options,
    marks: [...marks, heading],
  }) as unknown as Element
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return `${svg.outerHTML}\n`
}
