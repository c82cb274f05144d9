/** Disagreement against rounds, one line a size, logarithmic. */
export function plot(
  results: readonly { readonly peers: number; readonly disagreement: readonly number[] }[],
): string {
  const [width, height, left, bottom, top] = [640, 360, 70, 50, 20]
  const rounds = Math.max(...results.map(({ disagreement }) => disagreement.length - 1))
  const lowest = Math.floor(Math.log10(Math.min(...results.flatMap(({ disagreement }) => disagreement))))
  const x = (round: number) => left + (round / rounds) * (width - left - 100)
  const y = (value: number) => top + (Math.log10(value) / lowest) * (height - top - bottom)
  const text = (at: readonly [number, number], anchor: string, content: string) =>
    `<text x="${at[0].toFixed(1)}" y="${at[1].toFixed(1)}" text-anchor="${anchor}">${content}</text>`
  const shades = ['#9aa5b1', '#52606d', '#1f2933', '#0b5cad']
  const lines = results.map(({ peers, disagreement }, i) => {
    const points = disagreement.map((value, round) => `${x(round).toFixed(1)},${y(value).toFixed(1)}`)
    const label = text([x(rounds) + 8, y(disagreement.at(-1)!) + 4 + 14 * (i - 1)], 'start', `${peers} peers`)
    const color = shades[i % shades.length]!
    return `<polyline fill="none" stroke="${color}" stroke-width="2" points="${points.join(' ')}"/><g fill="${color}">${label}</g>`
  })
  const decades = Array.from({ length: -lowest + 1 }, (_, i) => -i).map(
    (power) =>
      `<line x1="${left}" x2="${x(rounds)}" y1="${y(10 ** power)}" y2="${y(10 ** power)}" stroke="#e4e7eb"/>` +
      text([left - 8, y(10 ** power) + 4], 'end', `1e${power}`),
  )
  const ticks = Array.from({ length: rounds + 1 }, (_, round) =>
    text([x(round), height - bottom + 18], 'middle', String(round)),
  )
  return (
    [
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
      `<rect width="${width}" height="${height}" fill="white"/>`,
      ...decades,
      ...ticks,
      ...lines,
      text([(left + x(rounds)) / 2, height - 10], 'middle', 'rounds'),
      text([left, top - 6], 'start', 'mean squared distance from the mean, share of the start'),
      '</svg>',
    ].join('\n') + '\n'
  )
}
