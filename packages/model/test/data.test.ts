import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  piecesOf,
  randomBatch,
  readSplits,
  requireSequence,
  type SplitName,
  SPLITS,
  type Splits,
  tokenize,
} from '../src/data.ts'
import { stream } from '../src/random.ts'
import { folderOf } from './helpers/files.ts'
import { refusal } from './helpers/refusals.ts'
import { baseTokenizer } from './helpers/tokenizers.ts'
import { fc } from './helpers/properties.ts'

const FRENCH = new URL('../../../data/multilingual-cc0/fr.valid.txt', import.meta.url)

const textsOf = (splits: Splits, split: SplitName) =>
  splits[split].flatMap(({ documents }) => documents.map(({ text }) => text))

/** Holds no half of a surrogate pair, which UTF-8 cannot express. */
const isWellFormed = (text: string) => Buffer.from(text).toString() === text

describe('splits of many documents', () => {
  const files = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`${i}.txt`, `document number ${i}`]))

  it('hold each document once, about eight in ten to train and one each to validate and test', async () => {
    const splits = await readSplits({ data: [await folderOf(files(500))] })
    const all = SPLITS.flatMap((split) => textsOf(splits, split))
    expect(all.toSorted()).toEqual(Object.values(files(500)).toSorted())
    expect(Math.abs(textsOf(splits, 'train').length - 400)).toBeLessThan(30)
    expect(Math.abs(textsOf(splits, 'valid').length - 50)).toBeLessThan(20)
    expect(Math.abs(textsOf(splits, 'test').length - 50)).toBeLessThan(20)
  })

  it('are the same each time, and for the documents that stay when others come', async () => {
    const [few, again, more] = await Promise.all(
      [100, 100, 150].map(async (count) => readSplits({ data: [await folderOf(files(count))] })),
    )
    for (const split of SPLITS) {
      expect(textsOf(again!, split)).toEqual(textsOf(few!, split))
      expect(textsOf(more!, split)).toEqual(expect.arrayContaining(textsOf(few!, split)))
    }
  })

  it('put documents of the same text together', async () => {
    const twice = Object.fromEntries(
      Object.entries(files(40)).flatMap(([name, text]) => [
        [name, text],
        [`copy/${name}`, text],
      ]),
    )
    const splits = await readSplits({ data: [await folderOf(twice)] })
    const apart = SPLITS.flatMap((split) => [...new Set(textsOf(splits, split))])
    expect(new Set(apart).size).toBe(apart.length)
  })

  it('are never empty, however few the documents', async () => {
    for (const count of [1, 2, 9, 10, 11, 13, 16]) {
      const texts = Object.fromEntries(
        Array.from({ length: count }, (_, i) => [`${i}.txt`, `line of ${i}\n`.repeat(30)]),
      )
      const splits = await readSplits({ data: [await folderOf(texts)] })
      for (const split of SPLITS) expect(textsOf(splits, split).join(''), `${split} of ${count}`).not.toBe('')
    }
  })
})

describe('splits of one document', () => {
  const splitOf = async (text: string) => {
    const splits = await readSplits({ data: [join(await folderOf({ 'a.txt': text }), 'a.txt')] })
    return SPLITS.map((split) => textsOf(splits, split).join(''))
  }

  it('are its first eight tenths, its ninth and its last, at ends of lines', async () => {
    const lines = Array.from({ length: 1000 }, (_, i) => `line ${i} of the text\n`)
    const parts = await splitOf(lines.join(''))
    expect(parts.join('')).toBe(lines.join(''))
    for (const part of parts) expect(part.startsWith('line ') && part.endsWith('\n')).toBe(true)
    const shares = parts.map((part) => part.length / lines.join('').length)
    expect(shares.map((share) => share.toFixed(2))).toEqual(['0.80', '0.10', '0.10'])
  })

  it('cut one long line between characters, never inside one', async () => {
    for (let length = 10; length < 30; length++) {
      const parts = await splitOf('🙂'.repeat(length))
      expect(parts.join('')).toBe('🙂'.repeat(length))
      for (const part of parts) expect(isWellFormed(part) && part !== '').toBe(true)
    }
  })

  it('are eight, one and one tenth even where lines are long', async () => {
    const text = `${'word '.repeat(1000)}\n${'word '.repeat(20)}\n`
    const shares = (await splitOf(text)).map((part) => part.length / text.length)
    expect(Math.abs(shares[0]! - 0.8)).toBeLessThan(0.05)
    expect(Math.abs(shares[1]! - 0.1)).toBeLessThan(0.05)
    expect(Math.abs(shares[2]! - 0.1)).toBeLessThan(0.05)
  })

  it('lose and repeat nothing of any text', async () => {
    const line = fc.string({ unit: 'grapheme', maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(fc.array(line, { minLength: 1, maxLength: 20 }), async (lines) => {
        const text = `a${lines.join('\n')}`
        const parts = await splitOf(text)
        expect(parts.join('')).toBe(text)
        for (const part of parts) expect(isWellFormed(part)).toBe(true)
      }),
      { numRuns: 60 },
    )
  })
})

describe('splits that the user made', () => {
  it('stay as they are, a group for each path', async () => {
    const folder = await folderOf({
      'en/a.txt': 'a',
      'en/b.txt': 'b',
      'de.txt': 'c',
      'v.txt': 'd',
      't.txt': 'e',
    })
    const at = (...names: string[]) => names.map((name) => join(folder, name))
    const splits = await readSplits({ train: at('en', 'de.txt'), valid: at('v.txt'), test: at('t.txt') })
    expect(splits).toEqual({
      train: [
        {
          name: 'en',
          documents: [
            { name: 'a.txt', text: 'a' },
            { name: 'b.txt', text: 'b' },
          ],
        },
        { name: 'de.txt', documents: [{ name: 'de.txt', text: 'c' }] },
      ],
      valid: [{ name: 'v.txt', documents: [{ name: 'v.txt', text: 'd' }] }],
      test: [{ name: 't.txt', documents: [{ name: 't.txt', text: 'e' }] }],
    })
  })
})

describe('tokenize', async () => {
  const tokenizer = await baseTokenizer()
  const group = (name: string, ...texts: string[]) => ({
    name,
    documents: texts.map((text) => ({ name, text })),
  })
  const end = tokenizer.endOfText

  it('ends every document, and remembers where groups begin and end', () => {
    const { tokens, groups } = tokenize([group('x', 'one', 'two two'), group('y', 'three')], tokenizer)
    const [one, two, three] = ['one', 'two two', 'three'].map((text) => [...tokenizer.encode(text)])
    expect([...tokens]).toEqual([...one!, end, ...two!, end, ...three!, end])
    const border = one!.length + two!.length + 2
    expect(groups).toEqual([
      { name: 'x', from: 0, to: border },
      { name: 'y', from: border, to: tokens.length },
    ])
  })

  it('parts a file at the lines that end documents, and skips what is empty', () => {
    const text = 'one\n<|endoftext|>\ntwo\n<|endoftext|>  \n\n<|endoftext|>\n \n'
    const { tokens } = tokenize([group('x', text, '  ')], tokenizer)
    const documents = tokenizer.decode(tokens).split('<|endoftext|>')
    expect(documents.map((document) => document.trim())).toEqual(['one', 'two', ''])
  })

  it('cuts a long text where its tokens end anyway, and tells how far it is', async () => {
    const french = await readFile(FRENCH, 'utf8')
    const prose = french.slice(0, 2000)
    const text = `${prose}\n\n${prose.toUpperCase()}…\t${'字'.repeat(300)}\n'Tis a test.\n`
    const pieces = [...piecesOf(text, 100)]
    expect(pieces.length).toBeGreaterThan(20)
    expect(pieces.join('')).toBe(text)
    expect(pieces.flatMap((piece) => [...tokenizer.encode(piece)])).toEqual([...tokenizer.encode(text)])
    const book = text.repeat(25)
    const told: number[] = []
    const { tokens } = tokenize([group('x', book)], tokenizer, (characters) => told.push(characters))
    expect(told.length).toBeGreaterThan(1)
    expect(told.reduce((sum, characters) => sum + characters)).toBe(book.length)
    expect(tokenizer.decode(tokens)).toBe(`${book}<|endoftext|>`)
  })

  it('leaves a text whole where it can be cut nowhere', () => {
    expect([...piecesOf('字'.repeat(300), 100)]).toEqual(['字'.repeat(300)])
  })

  it('gives an empty set for no text', () => {
    expect(tokenize([group('x')], tokenizer)).toEqual({
      tokens: new Int32Array(0),
      groups: [{ name: 'x', from: 0, to: 0 }],
    })
  })
})

describe('batches', () => {
  const set = (length: number) => ({ tokens: Int32Array.from({ length }, (_, i) => i), groups: [] })

  it('need one sequence and the token that follows it', async () => {
    requireSequence('train', 17, 16)
    expect(
      await refusal(() => {
        requireSequence('valid', 16, 16)
      }),
    ).toEqual({
      code: 'DATA_TOO_SHORT',
      split: 'valid',
      tokens: 16,
      neededTokens: 17,
    })
  })

  it('hold sequences as they stand in the text, each token with the next as its target', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 30 }),
        fc.integer(),
        (context, batch, more, seed) => {
          const { tokens, targets } = randomBatch(set(context + more), batch, context, stream(seed, 'batch'))
          expect(tokens.length).toBe(batch * context)
          for (let b = 0; b < batch; b++) {
            const start = tokens[b * context]!
            const sequence = Array.from({ length: context }, (_, i) => start + i)
            expect([...tokens.subarray(b * context, (b + 1) * context)]).toEqual(sequence)
          }
          expect([...targets]).toEqual([...tokens].map((token) => token + 1))
          expect(Math.max(...targets)).toBeLessThan(context + more)
        },
      ),
    )
  })

  it('start anywhere, at the first token and at the last that has room', () => {
    const starts = new Set(
      Array.from({ length: 300 }, (_, k) => randomBatch(set(20), 1, 16, stream(1, 'batch', k)).tokens[0]),
    )
    expect([...starts].sort()).toEqual([0, 1, 2, 3])
  })
})
