import { describe, expect, it } from 'vitest'
import { createDetokenizer, createStopFilter } from '../src/generated-text.ts'
import { fc } from './helpers/properties.ts'
import { baseTokenizer } from './helpers/tokenizers.ts'

const tokenizer = await baseTokenizer()

const shown = (ids: Iterable<number>): string[] => {
  const detokenizer = createDetokenizer(tokenizer)
  return [...ids].map((id) => detokenizer.push(id))
}

describe('a detokenizer', () => {
  it('shows every text as it was, in whole characters', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), (text) => {
        fc.pre(!text.includes('\ufffd'))
        const pieces = shown(tokenizer.encode(text))
        expect(pieces.join('')).toBe(text)
        for (const piece of pieces) expect(Buffer.from(piece).toString()).toBe(piece)
      }),
    )
  })

  it('shows of any tokens what they decode to, but for an unfinished end', () => {
    const ids = fc.array(fc.integer({ min: 0, max: tokenizer.size - 1 }), { maxLength: 30 })
    fc.assert(
      fc.property(ids, (tokens) => {
        expect(shown(tokens).join('')).toBe(tokenizer.decode(tokens).replace(/\ufffd$/, ''))
      }),
    )
  })

  it('decodes little at a time, however long the text', () => {
    let most = 0
    const counting = createDetokenizer({
      decode: (ids) => {
        most = Math.max(most, [...ids].length)
        return tokenizer.decode(ids)
      },
    })
    for (let i = 0; i < 20; i++) for (const id of tokenizer.encode('Once upon a 🙂 time')) counting.push(id)
    expect(most).toBeLessThan(10)
  })
})

/** What a filter lets through of a text in pieces. */
function filtered(pieces: readonly string[], stops: readonly string[]): { text: string; stopped: boolean } {
  const filter = createStopFilter(stops)
  let all = ''
  for (const piece of pieces) {
    const { text, stopped } = filter.push(piece)
    all += text
    if (stopped) return { text: all, stopped }
  }
  return { text: all + filter.flush(), stopped: false }
}

/** By the definition: the shortest beginning that ends with a stop sequence, without it. */
function expected(text: string, stops: readonly string[]): { text: string; stopped: boolean } {
  for (let end = 0; end <= text.length; end++) {
    const found = stops.filter((one) => text.slice(0, end).endsWith(one)).sort((a, b) => b.length - a.length)
    if (found[0] !== undefined) return { text: text.slice(0, end - found[0].length), stopped: true }
  }
  return { text, stopped: false }
}

// Few letters, so that sequences are met, half met and met within each other.
const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 30 })
const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 5 }), {
  maxLength: 4,
})
const cuts = fc.array(fc.nat(30), { maxLength: 8 })

function cut(text: string, at: readonly number[]): string[] {
  const places = [0, ...at.filter((place) => place < text.length).sort((a, b) => a - b), text.length]
  return places.slice(1).map((place, i) => text.slice(places[i], place))
}

describe('a stop filter', () => {
  it('lets through what comes before the first stop sequence, wherever the text is cut', () => {
    fc.assert(
      fc.property(text, stops, cuts, (text, stops, at) => {
        expect(filtered(cut(text, at), stops)).toEqual(expected(text, stops))
      }),
      { numRuns: 1000 },
    )
  })

  it('never lets through more than that, and holds back no more than it must', () => {
    fc.assert(
      fc.property(text, stops, (text, stops) => {
        const filter = createStopFilter(stops)
        const longest = Math.max(0, ...stops.map((one) => one.length - 1))
        const allowed = expected(text, stops).text
        let letThrough = ''
        for (const [i, letter] of Array.from(text).entries()) {
          const { text: piece, stopped } = filter.push(letter)
          letThrough += piece
          expect(allowed.startsWith(letThrough)).toBe(true)
          if (stopped) return
          expect(i + 1 - letThrough.length).toBeLessThanOrEqual(longest)
        }
      }),
    )
  })

  it('holds nothing back without stop sequences', () => {
    const filter = createStopFilter([])
    expect(filter.push('abc')).toEqual({ text: 'abc', stopped: false })
    expect(filter.flush()).toBe('')
  })
})
