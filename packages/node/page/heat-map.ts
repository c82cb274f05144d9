import { colour, onThemeChange } from './colours.ts'
import { element } from './dom.ts'
import { percent } from './format.ts'

export interface HeatMap {
  /** @param columns - in order, each with a share for every layer */
  draw(columns: readonly { readonly round: number; readonly shares: readonly number[] }[]): void
}

const ROW_HEIGHT = 26
const MAX_HEIGHT = 240
/** Left of the cells, for the layers' numbers. */
const MARGIN = 30
/** A column that is narrower than this cannot be seen: rounds are averaged. */
const MIN_COLUMN = 4

/** Router share of the generalist by layer and round. The colour scale spans what occurs, evenly about one half. */
export function createHeatMap(host: HTMLElement): HeatMap {
  const canvas = element('canvas')
  canvas.setAttribute('role', 'img')
  const scale = element('p', { className: 'scale' })
  const latest = element('p', { className: 'note' })
  host.append(canvas, scale, latest)
  let columns: Parameters<HeatMap['draw']>[0] = []

  const paint = () => {
    const layers = columns[0]?.shares.length ?? 0
    const width = host.clientWidth
    if (layers === 0 || width === 0) return
    const row = Math.min(ROW_HEIGHT, MAX_HEIGHT / layers)
    const height = layers * row + 20
    const ratio = devicePixelRatio
    canvas.width = Math.round(width * ratio)
    canvas.height = Math.round(height * ratio)
    canvas.style.height = `${height}px`
    const context = canvas.getContext('2d')!
    context.scale(ratio, ratio)

    const shown = condensed(columns, Math.floor((width - MARGIN) / MIN_COLUMN))
    const span = spanOf(shown.flatMap(({ shares }) => shares))
    const [special, even, general] = ['specialist', 'even', 'generalist'].map(colour) as [
      string,
      string,
      string,
    ]
    const column = (width - MARGIN) / shown.length
    shown.forEach(({ shares }, index) => {
      shares.forEach((share, layer) => {
        const lean = Math.max(-1, Math.min(1, (share - 0.5) / span))
        context.fillStyle = `color-mix(in oklab, ${lean < 0 ? special : general} ${100 * Math.abs(lean)}%, ${even})`
        // Cells overlap by a hair, so that no seam shows between them; rows keep a gap.
        context.fillRect(MARGIN + index * column, layer * row, column + 0.5, row - 1)
      })
    })
    context.fillStyle = colour('muted')
    context.font = `12px ${getComputedStyle(host).fontFamily}`
    context.textBaseline = 'middle'
    for (let layer = 0; layer < layers; layer++) {
      if (row < 12 && layer % 2 === 1) continue
      context.fillText(`${layer + 1}`, 6, (layer + 0.5) * row)
    }
    context.textBaseline = 'bottom'
    context.fillText(`round ${columns[0]!.round}`, MARGIN, height)
    context.textAlign = 'right'
    context.fillText(`${columns.at(-1)!.round}`, width, height)

    const end = (share: number, who: string) => `${percent(share)} ${who}`
    scale.replaceChildren(
      element('span', {}, end(0.5 + span, 'specialists')),
      element('span', { className: 'gradient' }),
      element('span', {}, end(0.5 + span, 'generalist')),
    )
    const last = columns.at(-1)!.shares
    const told = last.map((share, layer) => `layer ${layer + 1}: ${percent(share)}`).join(', ')
    latest.textContent = `Generalist's share now, ${told}.`
    canvas.setAttribute('aria-label', `Router share of the generalist by layer and round. Now ${told}.`)
  }

  new ResizeObserver(paint).observe(host)
  onThemeChange(paint)
  return {
    draw(newColumns) {
      columns = newColumns
      paint()
    },
  }
}

/** The largest distance from one half, up to the next tenth. */
function spanOf(shares: readonly number[]): number {
  const largest = Math.max(...shares.map((share) => Math.abs(share - 0.5)))
  return Math.min(0.5, Math.max(1, Math.ceil(10 * largest)) / 10)
}

/** At most so many columns: neighbours are averaged. */
function condensed(columns: Parameters<HeatMap['draw']>[0], most: number): Parameters<HeatMap['draw']>[0] {
  const size = Math.ceil(columns.length / most)
  if (size <= 1) return columns
  return Array.from({ length: Math.ceil(columns.length / size) }, (_, index) => {
    const group = columns.slice(index * size, (index + 1) * size)
    const [first] = group
    const shares = first!.shares.map(
      (_, layer) => group.reduce((sum, one) => sum + one.shares[layer]!, 0) / group.length,
    )
    return { round: first!.round, shares }
  })
}
