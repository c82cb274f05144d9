import type { GeneratedToken } from '@comigs/model'
import pc from 'picocolors'

/** The generalist plain, so that what is special stands out. */
const COLOURS = [(text: string) => text, pc.cyan, pc.yellow, pc.magenta, pc.green, pc.blue, pc.red]

const nameOf = (expert: number) => (expert === 0 ? 'generalist' : `specialist ${expert}`)

/** Shows tokens as they come, on a terminal or to a pipe. */
export interface TextDisplay {
  show(token: Pick<GeneratedToken, 'text' | 'routing'>): void
  /** A line about the experts, where they are shown. */
  end(): void
}

/**
 * @param showExperts - each token in the colour of the expert that the router trusted most; without colours, a mark
 *   wherever the expert changes
 */
export function createTextDisplay(write: (text: string) => void, showExperts: boolean): TextDisplay {
  const counts = new Map<number, number>()
  let previous: number | undefined
  return {
    show({ text, routing }) {
      if (!showExperts || routing === undefined) {
        write(text)
        return
      }
      const { expert } = routing
      counts.set(expert, (counts.get(expert) ?? 0) + 1)
      const mark = pc.isColorSupported || expert === previous || text === '' ? '' : `[${expert}]`
      if (text !== '') previous = expert
      write(mark + COLOURS[expert % COLOURS.length]!(text))
    },
    end() {
      const total = [...counts.values()].reduce((sum, count) => sum + count, 0)
      if (total === 0) return
      const shares = [...counts]
        .sort(([a], [b]) => a - b)
        .map(([expert, count]) => {
          const share = `${nameOf(expert)} ${Math.round((100 * count) / total)} %`
          return COLOURS[expert % COLOURS.length]!(`[${expert}] ${share}`)
        })
      write(`\ntokens by the expert that the router trusted most: ${shares.join(', ')}\n`)
    },
  }
}
