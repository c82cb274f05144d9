import { distance } from 'fastest-levenshtein'

/** Further from every known name than this, a name was not meant to be one. */
const NEAR = 3

/** The known name that a misspelt one was meant to be. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const [best] = known.toSorted((a, b) => distance(name, a) - distance(name, b))
  return best !== undefined && distance(name, best) <= NEAR ? best : undefined
}
