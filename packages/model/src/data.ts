import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import { type Document, readFiles, type TextFiles } from './documents.ts'
import { ModelError } from './errors.ts'
import type { RandomStream } from './random.ts'
import type { Tokenizer } from './tokenizer.ts'

export type SplitName = 'train' | 'valid' | 'test'
export const SPLITS: readonly SplitName[] = ['train', 'valid', 'test']

/** What a user points at: one set that we split, or three sets that stay as they are. */
export type DataSource = (
  | { readonly data: readonly string[] }
  | { readonly train: readonly string[]; readonly valid: readonly string[]; readonly test: readonly string[] }
) & {
  /** Where the text of a .jsonl line or a .csv row is. @default 'text' */
  readonly field?: string | undefined
}

/** Documents that are reported on together: each path that the user named for a split. */
export interface TextGroup {
  readonly name: string
  readonly documents: readonly Document[]
}

export type Splits = Readonly<Record<SplitName, readonly TextGroup[]>>

/** Of ten documents, or of ten blocks of a single document: eight train, one validates, one tests. */
const TENTHS = 10

/** A source as it was read: what goes into each split, and what was found in which file. */
export interface TextOfUser extends Omit<TextFiles, 'documents'> {
  readonly splits: Splits
}

/** Reads a source and splits it where the user did not. Deterministic: the same files give the same splits. */
export async function readText(source: DataSource): Promise<TextOfUser> {
  if ('train' in source) {
    const sets = await Promise.all(SPLITS.map((split) => readGroups(source[split], source.field)))
    const [train, valid, test] = sets.map((set) => set.map(({ group }) => group))
    const read = sets.flat()
    return {
      splits: { train: train!, valid: valid!, test: test! },
      files: read.flatMap(({ files }) => files),
      skipped: read.flatMap(({ skipped }) => skipped),
    }
  }
  const { documents, files, skipped } = await readFiles(source.data, source.field)
  const splits = documents.length < TENTHS ? splitByBlocks(documents) : splitByDocuments(documents)
  const group = (split: SplitName): TextGroup[] => [
    { name: source.data.map((path) => basename(path)).join(' '), documents: splits[split] },
  ]
  return {
    splits: { train: group('train'), valid: group('valid'), test: group('test') },
    files,
    skipped,
  }
}

export const readSplits = async (source: DataSource): Promise<Splits> => (await readText(source)).splits

const readGroups = (paths: readonly string[], field: string | undefined) =>
  Promise.all(
    paths.map(async (path) => {
      const { documents, ...rest } = await readFiles([path], field)
      return { group: { name: basename(path), documents }, ...rest }
    }),
  )

type SplitDocuments = Record<SplitName, Document[]>

/** By hash of the text, so that adding a file moves no other. */
function splitByDocuments(documents: readonly Document[]): SplitDocuments {
  const splits = { train: [] as Document[], valid: [] as Document[], test: [] as Document[] }
  for (const document of documents) {
    const tenth = createHash('sha256').update(document.text).digest()[0]! % TENTHS
    splits[tenth === 0 ? 'valid' : tenth === 1 ? 'test' : 'train'].push(document)
  }
  // Ten to thirty documents can by chance leave a split empty.
  return splits.valid.length === 0 || splits.test.length === 0 || splits.train.length === 0
    ? splitByBlocks(documents)
    : splits
}

/** Contiguous blocks at line borders: the first 80 % of each document train, the next tenth validates, the last tests. */
function splitByBlocks(documents: readonly Document[]): SplitDocuments {
  const cut = ({ name, text }: Document, from: number, to: number): Document => ({
    name,
    text: text.slice(lineStart(text, from), lineStart(text, to)),
  })
  const part = (from: number, to: number) =>
    documents.map((document) => cut(document, from / TENTHS, to / TENTHS)).filter(({ text }) => text !== '')
  return { train: part(0, 8), valid: part(8, 9), test: part(9, 10) }
}

function lineStart(text: string, fraction: number): number {
  const at = Math.floor(text.length * fraction)
  if (at === 0 || at === text.length) return at
  const newline = text.indexOf('\n', at)
  // Not too far: a tenth must stay about a tenth, and must not be swallowed by the one before.
  if (newline >= 0 && newline < Math.min(text.length - 1, at + text.length / (2 * TENTHS))) return newline + 1
  // No line to end at (one long paragraph): cut between characters, never inside a surrogate pair.
  return text.charCodeAt(at) >> 10 === 0x37 ? at + 1 : at
}

/** The tokens of one split, with the borders of its groups. */
export interface TokenSet {
  readonly tokens: Int32Array
  /** `[from, to)` in `tokens`, in order. */
  readonly groups: readonly { readonly name: string; readonly from: number; readonly to: number }[]
}

/** A line that separates documents inside a file. */
const DOCUMENT_END = /^<\|endoftext\|>\s*$/m

/** Characters that are tokenised at a time: a book takes memory for a part of it, and one sees it move on. */
const PIECE = 100_000

/**
 * Cuts a text where tokenizers cut it anyway: behind a letter, before the space of the next word or the end of a line. (Those
 * that begin each text with a space see one more there.) A text without such places stays whole.
 */
export function* piecesOf(text: string, size = PIECE): Generator<string> {
  const cut = /(?<=\p{L})(?= \p{L}|\n)/gu
  for (let at = 0; at < text.length;) {
    cut.lastIndex = at + size
    const end = cut.exec(text)?.index ?? text.length
    yield text.slice(at, end)
    at = end
  }
}

/** Text -> tokens, each document between the marks that begin and end one. */
export function tokenize(
  groups: readonly TextGroup[],
  tokenizer: Tokenizer,
  onProgress?: (characters: number) => void,
): TokenSet {
  const pieces: Int32Array[] = []
  let at = 0
  const borders = groups.map(({ name, documents }) => {
    const from = at
    for (const text of documents.flatMap((document) => document.text.split(DOCUMENT_END))) {
      if (text.trim() === '') continue
      // Where one mark does both, it stands once between two documents.
      let isBegun = at > 0 && tokenizer.beginOfText === tokenizer.endOfText
      for (const piece of piecesOf(text)) {
        const ids = isBegun ? tokenizer.encode(piece) : tokenizer.encodeDocument(piece)
        isBegun = true
        pieces.push(ids)
        at += ids.length
        onProgress?.(piece.length)
      }
      pieces.push(Int32Array.of(tokenizer.endOfText))
      at += 1
    }
    return { name, from, to: at }
  })
  const tokens = new Int32Array(at)
  let offset = 0
  for (const piece of pieces) {
    tokens.set(piece, offset)
    offset += piece.length
  }
  return { tokens, groups: borders }
}

/** @throws ModelError `DATA_TOO_SHORT` when not even one sequence fits */
export function requireSequence(split: string, tokens: number, context: number): void {
  if (tokens < context + 1) {
    throw new ModelError({ code: 'DATA_TOO_SHORT', split, tokens, neededTokens: context + 1 })
  }
}

export interface Batch {
  /** `[B T]` */
  readonly tokens: Int32Array
  /** The token that follows each, `[B T]`. */
  readonly targets: Int32Array
}

/** Sequences at uniformly random offsets, with replacement, as in the paper. */
export function randomBatch(
  { tokens }: TokenSet,
  batch: number,
  context: number,
  random: RandomStream,
): Batch {
  const result = { tokens: new Int32Array(batch * context), targets: new Int32Array(batch * context) }
  for (let b = 0; b < batch; b++) {
    const offset = random.below(tokens.length - context)
    result.tokens.set(tokens.subarray(offset, offset + context), b * context)
    result.targets.set(tokens.subarray(offset + 1, offset + context + 1), b * context)
  }
  return result
}

/** A batch whose padding weighs nothing. */
export interface WeightedBatch extends Batch {
  readonly weights: Float32Array
  /** Targets that count. */
  readonly count: number
}

/**
 * Windows side by side that cover a stretch of tokens once; every token but the first is a target exactly once. Each is made
 * when it is called: an evaluation of a few looks at a large set needs no copy of all of it.
 */
export function sweep(tokens: Int32Array, batch: number, context: number): (() => WeightedBatch)[] {
  const size = batch * context
  const windows = Math.ceil(Math.max(0, tokens.length - 1) / size)
  return Array.from(
    { length: windows },
    (_, i) => () => weighted(tokens.subarray(i * size, (i + 1) * size + 1), size),
  )
}

/** The tokens but the last, each followed by the next, and padding up to the size. */
function weighted(tokens: Int32Array, size: number): WeightedBatch {
  const batch = {
    tokens: new Int32Array(size),
    targets: new Int32Array(size),
    weights: new Float32Array(size),
  }
  const count = tokens.length - 1
  batch.tokens.set(tokens.subarray(0, count))
  batch.targets.set(tokens.subarray(1))
  batch.weights.fill(1, 0, count)
  return { ...batch, count }
}
