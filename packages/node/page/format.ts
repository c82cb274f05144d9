export const count = (value: number): string => value.toLocaleString('en-US')

export const number = (value: number): string => (value >= 100 ? count(Math.round(value)) : value.toFixed(1))

export const percent = (share: number): string => `${Math.round(100 * share)} %`

export function bytes(value: number): string {
  if (value < 1e3) return `${Math.round(value)} B`
  if (value < 1e6) return `${(value / 1e3).toFixed(value < 1e4 ? 1 : 0)} kB`
  if (value < 1e9) return `${(value / 1e6).toFixed(1)} MB`
  return `${(value / 1e9).toFixed(1)} GB`
}

export const range = (low: string, high: string): string => (low === high ? low : `${low}–${high}`)

export const plural = (value: number, one: string): string =>
  `${count(value)} ${one}${value === 1 ? '' : 's'}`

export const expertName = (expert: number): string => (expert === 0 ? 'generalist' : `specialist ${expert}`)

/** The end of a peer id is where they differ. */
export const shortId = (peer: string): string => `…${peer.slice(-8)}`
