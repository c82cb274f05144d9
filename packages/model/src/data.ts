import { createHash } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { basename, extname, join, relative } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { ModelError } from './errors.ts'
import { readBytes, reasonOf } from './files.ts'
import type { RandomStream } from './random.ts'
import type { Tokenizer } from './tokenizer.ts'

/** A piece of text that stands alone. */
export interface Document {
  /** Where it came from, relative to what the user named. */
  readonly name: string
  readonly text: string
}

export type SplitName = 'train' | 'valid' | 'test'
export const SPLITS: readonly SplitName[] = ['train', 'valid', 'test']

/** What a user points at: one set that we split, or three sets that stay as they are. */
export type DataSource =
  | { readonly data: readonly string[] }
  | { readonly train: readonly string[]; readonly valid: readonly string[]; readonly test: readonly string[] }

/** Documents that are reported on together: each path that the user named for a split. */
export interface TextGroup {
  readonly name: string
  readonly documents: readonly Document[]
}

export type Splits = Readonly<Record<SplitName, readonly TextGroup[]>>

const TEXT_FILES = ['.txt', '.md']

/**
 * Reads `.txt`, `.md` and `.gz` of these; folders are searched. Every file is a document.
 * @throws ModelError `DATA_MISSING`, `DATA_EMPTY`, `DATA_BINARY`, `FILE_UNREADABLE`
 */
export async function readDocuments(paths: readonly string[]): Promise<Document[]> {
  const documents: Document[] = []
  for (const path of paths) {
    for (const { file, name } of await textFiles(path)) documents.push({ name, text: await readText(file) })
  }
  if (documents.every(({ text }) => text.trim() === '')) {
    throw new ModelError({ code: 'DATA_EMPTY', path: paths.join(', ') })
  }
  return documents
}

async function textFiles(path: string): Promise<{ file: string; name: string }[]> {
  let isFolder: boolean
  try {
    isFolder = (await stat(path)).isDirectory()
  } catch (error) {
    throw new ModelError({ code: 'DATA_MISSING', path, reason: reasonOf(error) }, { cause: error })
  }
  if (!isFolder) return [{ file: path, name: basename(path) }]
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  const files = entries
    .filter((entry) => entry.isFile() && isTextFile(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
  if (files.length === 0) {
    throw new ModelError({
      code: 'DATA_MISSING',
      path,
      reason: 'the folder holds no .txt, .md, .txt.gz or .md.gz file',
    })
  }
  return files.map((file) => ({ file, name: relative(path, file) }))
}

function isTextFile(name: string): boolean {
  return TEXT_FILES.includes(extname(name.replace(/\.gz$/, '')))
}

async function readText(path: string): Promise<string> {
  let bytes = await readBytes(path)
  if (path.endsWith('.gz')) {
    try {
      bytes = gunzipSync(bytes)
    } catch (error) {
      throw new ModelError(
        { code: 'FILE_UNREADABLE', path, reason: `not a gzip file: ${reasonOf(error)}` },
        { cause: error },
      )
    }
  }
  const zero = bytes.indexOf(0)
  if (zero >= 0) throw new ModelError({ code: 'DATA_BINARY', path, offset: zero })
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new ModelError({ code: 'DATA_BINARY', path, offset: firstInvalidByte(bytes) }, { cause: error })
  }
}

/** Found by halving: a prefix decodes in streaming mode unless it holds the offending byte. */
function firstInvalidByte(bytes: Uint8Array): number {
  let good = 0
  let bad = bytes.length
  while (bad - good > 1) {
    const middle = (good + bad) >> 1
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, middle), { stream: true })
      good = middle
    } catch {
      bad = middle
    }
  }
  return good
}

/** Of ten documents, or of ten blocks of a single document: eight train, one validates, one tests. */
const TENTHS = 10

/** Reads a source and splits it where the user did not. Deterministic: the same files give the same splits. */
export async function readSplits(source: DataSource): Promise<Splits> {
  if ('train' in source) {
    const [train, valid, test] = await Promise.all([source.train, source.valid, source.test].map(readGroups))
    return { train: train!, valid: valid!, test: test! }
  }
  const documents = await readDocuments(source.data)
  const splits = documents.length < TENTHS ? splitByBlocks(documents) : splitByDocuments(documents)
  const group = (split: SplitName): TextGroup[] => [
    { name: source.data.map((path) => basename(path)).join(' '), documents: splits[split] },
  ]
  return { train: group('train'), valid: group('valid'), test: group('test') }
}

const readGroups = (paths: readonly string[]): Promise<TextGroup[]> =>
  Promise.all(paths.map(async (path) => ({ name: basename(path), documents: await readDocuments([path]) })))

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

/** Text -> tokens, each document between the marks that begin and end one. */
export function tokenize(groups: readonly TextGroup[], tokenizer: Tokenizer): TokenSet {
  const pieces: Int32Array[] = []
  let at = 0
  const borders = groups.map(({ name, documents }) => {
    const from = at
    for (const text of documents.flatMap((document) => document.text.split(DOCUMENT_END))) {
      if (text.trim() === '') continue
      // Where one mark does both, it stands once between two documents.
      const isBegun = at > 0 && tokenizer.beginOfText === tokenizer.endOfText
      const ids = isBegun ? tokenizer.encode(text) : tokenizer.encodeDocument(text)
      pieces.push(ids, Int32Array.of(tokenizer.endOfText))
      at += ids.length + 1
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
export function requireSequence(split: string, { tokens }: TokenSet, context: number): void {
  if (tokens.length < context + 1) {
    throw new ModelError({ code: 'DATA_TOO_SHORT', split, tokens: tokens.length, neededTokens: context + 1 })
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

/** Windows side by side that cover a stretch of tokens once; every token but the first is a target exactly once. */
export function* sweep(tokens: Int32Array, batch: number, context: number): Generator<WeightedBatch> {
  for (let start = 0; start + 1 < tokens.length; start += batch * context) {
    const size = batch * context
    const result = {
      tokens: new Int32Array(size),
      targets: new Int32Array(size),
      weights: new Float32Array(size),
    }
    const count = Math.min(size, tokens.length - 1 - start)
    result.tokens.set(tokens.subarray(start, start + count))
    result.targets.set(tokens.subarray(start + 1, start + 1 + count))
    result.weights.fill(1, 0, count)
    yield { ...result, count }
  }
}
