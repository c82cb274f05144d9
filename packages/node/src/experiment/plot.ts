// Plots as SVG text, without a browser.
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'

/** A line for each series, named at its end. */
export function linePlot(plot: {
  readonly title: string
  /** Label of the axis. */
  readonly x: string
  readonly logarithmic: boolean
  readonly points: readonly { readonly x: number; readonly y: number; readonly series: string }[]
}): string {
  const { points } = plot
  const line = { x: 'x', y: 'y', z: 'series', stroke: 'series' }
  return draw(plot.title, {
    marginRight: 150,
    x: { label: plot.x, ticks: [...new Set(points.map(({ x }) => x))], tickFormat: String },
    y: {
      label: null,
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
  readonly bars: readonly { readonly group: string; readonly series: string; readonly value: number }[]
}): string {
  const series = [...new Set(plot.bars.map((bar) => bar.series))]
  return draw(plot.title, {
    marginBottom: 110,
    x: { axis: null, domain: series },
    fx: { label: null, axis: 'top' },
    y: { label: null, grid: true, nice: true },
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
  append(child: Element): void
  textContent: string
  readonly outerHTML: string
}

interface Document {
  createElementNS(namespace: string, name: string): Element
}

/** The title is set here: a mark of Plot would stand in every facet. */
function draw(title: string, options: Plot.PlotOptions): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>') as unknown as {
    document: Document
  }
  const svg = Plot.plot({
    document: document as never,
    width: 720,
    height: 380,
    marginTop: 50,
    marginLeft: 60,
    style: { background: 'white' },
    ...options,
  }) as unknown as Element
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  const heading = document.createElementNS('http://www.w3.org/2000/svg', 'text')
  const attributes = {
    x: '4',
    y: '18',
    'text-anchor': 'start',
    'font-weight': 'bold',
    'font-size': '13',
    fill: 'currentColor',
  }
  for (const [name, value] of Object.entries(attributes)) heading.setAttribute(name, value)
  heading.textContent = title
  svg.append(heading)
  return `${svg.outerHTML}\n`
}
