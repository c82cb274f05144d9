import { parseHTML } from 'linkedom'
import { describe, expect, it } from 'vitest'
import { linePlot } from './plot.mjs'

const points = [1, 2, 4].flatMap((x) => [
  { x, y: 10 * x, series: 'ours' },
  { x, y: 8 * x, series: 'theirs' },
])

function drawn(given) {
  const { document } = parseHTML(linePlot({ title: 'Speed', x: 'experts', y: 'tokens/s', points: given }))
  const texts = [...document.querySelectorAll('text')].map((text) => text.textContent)
  return { document, texts, lines: document.querySelectorAll('g[aria-label="line"] path') }
}

describe('linePlot', () => {
  it('draws a line for each series and names it', () => {
    const { texts, lines } = drawn(points)
    expect(lines.length).toBe(2)
    expect(texts).toEqual(expect.arrayContaining(['Speed', 'ours', 'theirs', '1', '2', '4']))
  })

  it('draws one line where there are no series', () => {
    const { lines } = drawn(
      points
        .slice(0, 1)
        .concat({ x: 3, y: 5 })
        .map(({ x, y }) => ({ x, y })),
    )
    expect(lines.length).toBe(1)
  })

  it('is a document of its own: one svg with its namespace', () => {
    const { document } = drawn(points)
    expect(document.querySelectorAll('svg').length).toBe(1)
    expect(document.querySelector('svg').getAttribute('xmlns')).toBe('http://www.w3.org/2000/svg')
  })
})
