/** Colours are the style sheet's: one place for light and dark. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
}

/** Distinct colours in the style sheet, for peers and for experts. */
const COLOURS = 7

/** Expert 0 is the generalist. More than there are colours share them. */
export const colourIndex = (index: number): number => index % COLOURS

export const seriesColour = (index: number): string => colour(`c${colourIndex(index)}`)

export function onThemeChange(listener: () => void): void {
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', listener)
}
