import type { Tokenizer } from './tokenizer.ts'

/** Turns tokens into text as they come, whole characters only. */
export interface Detokenizer {
  /** @returns the text that this token completes, '' inside a character */
  push(id: number): string
}

/**
 * The text of a token can depend on the one before it (a leading space), and the bytes of a character can be spread over
 * several. So each token is decoded behind the last ones whose text was whole, and what comes out beyond theirs is new.
 * @param before - tokens of the text that is continued
 */
export function createDetokenizer(
  tokenizer: Pick<Tokenizer, 'decode'>,
  before: ArrayLike<number> = [],
): Detokenizer {
  let whole = Array.from(before).slice(-1)
  let open: number[] = []
  let shown = tokenizer.decode(whole)
  return {
    push(id) {
      open.push(id)
      const text = tokenizer.decode([...whole, ...open])
      // An unfinished UTF-8 sequence at the end decodes to one U+FFFD, which the next token may turn into a character.
      const certain = text.endsWith('\ufffd') ? text.slice(0, -1) : text
      const made = certain.slice(shown.length)
      shown = certain
      if (certain === text) {
        whole = open
        open = []
        shown = tokenizer.decode(whole)
      }
      return made
    },
  }
}

/** Lets text through up to the first stop sequence, wherever the pieces are cut. */
export interface StopFilter {
  /** @returns what is certainly not part of a stop sequence; `stopped` with the text before one */
  push(text: string): { readonly text: string; readonly stopped: boolean }
  /** What was held back, when nothing more comes. */
  flush(): string
}

/** The stop sequence that is complete first counts; of several that end at the same place, the one that begins first. */
export function createStopFilter(sequences: readonly string[]): StopFilter {
  let held = ''
  return {
    push(text) {
      const all = held + text
      const [found] = sequences
        .map((one) => ({ from: all.indexOf(one), to: all.indexOf(one) + one.length }))
        .filter(({ from }) => from !== -1)
        .sort((a, b) => a.to - b.to || a.from - b.from)
      if (found !== undefined) {
        held = ''
        return { text: all.slice(0, found.from), stopped: true }
      }
      const kept = Math.max(0, ...sequences.map((one) => overlap(all, one)))
      held = all.slice(all.length - kept)
      return { text: all.slice(0, all.length - kept), stopped: false }
    },
    flush: () => held,
  }
}

/** Length of the longest end of `text` with which `sequence` begins. */
function overlap(text: string, sequence: string): number {
  for (let length = Math.min(text.length, sequence.length - 1); length > 0; length--)
    if (text.endsWith(sequence.slice(0, length))) return length
  return 0
}
