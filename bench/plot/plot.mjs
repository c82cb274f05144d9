// Line plots as SVG text, without a browser.
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'

const HEADING = { frameAnchor: 'top-left', dx: -57 }

/**
 * @param title - above the plot
 * @param x - label of the axis
 * @param y - label of the axis, which begins at 0
 * @param points - `{ x, y }`, or `{ x, y, series }` for several lines, each named at its end
 * @returns an SVG document
 */
export function linePlot({ title, x, y, points }) {
  const { document } = parseHTML('<!doctype html><html><body></body></html>')
  const names = points.some((point) => 'series' in point)
  const line = { x: 'x', y: 'y', ...(names ? { z: 'series', stroke: 'series' } : {}) }
  const svg = Plot.plot({
    document,
    width: 560,
    height: 320,
    marginTop: 58,
    marginLeft: 60,
    marginRight: names ? 110 : 30,
    style: { background: 'white' },
    x: { label: x, ticks: [...new Set(points.map((point) => point.x))], tickFormat: String },
    y: { label: null, zero: true, grid: true, nice: true },
    marks: [
      Plot.ruleY([0]),
      Plot.line(points, { ...line, marker: 'circle' }),
      ...(names
        ? [
            Plot.text(
              points,
              Plot.selectLast({ ...line, stroke: undefined, text: 'series', textAnchor: 'start', dx: 8 }),
            ),
          ]
        : []),
      Plot.text([title], { ...HEADING, dy: -52, fontWeight: 'bold', fontSize: 13 }),
      // Plot's own label would stand where the title does.
      Plot.text([`↑ ${y}`], { ...HEADING, dy: -24 }),
    ],
  })
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return `${svg.outerHTML}\n`
}
