import { extname } from 'node:path'
import { ModelError } from './errors.ts'
import { reasonOf } from './files.ts'

/** What text is kept in. */
export type Format = 'text' | 'html' | 'pdf' | 'jsonl' | 'csv'

/** A document within a file. */
interface Piece {
  /** Its line, where a file has several. */
  readonly at?: number
  readonly text: string
}

interface Origin {
  /** For messages. */
  readonly path: string
  /** Which field of a line or row is the text. */
  readonly field: string
}

interface FormatReader {
  readonly endings: readonly string[]
  /** Why a file of it that can be read may hold no text. */
  readonly whenEmpty: string
  /** @throws ModelError `DATA_BINARY`, `DATA_MALFORMED` with the line, `FILE_UNREADABLE` */
  read(bytes: Uint8Array, origin: Origin): Promise<readonly Piece[]>
}

/** Libraries are loaded when the first file of their format comes: most people have none. */
export const FORMATS: Readonly<Record<Format, FormatReader>> = {
  text: {
    endings: ['.txt', '.md'],
    whenEmpty: 'holds no text',
    read: async (bytes, { path }) => [{ text: decode(bytes, path) }],
  },
  html: { endings: ['.html', '.htm'], whenEmpty: 'holds no text', read: readHtml },
  pdf: {
    endings: ['.pdf'],
    whenEmpty: 'holds no text: pictures of pages need a text layer (OCR)',
    read: readPdf,
  },
  jsonl: { endings: ['.jsonl', '.ndjson'], whenEmpty: 'no line holds text', read: readJsonl },
  csv: { endings: ['.csv', '.tsv'], whenEmpty: 'no row holds text', read: readCsv },
}

/** By the ending of a file's name, and of what is packed in a `.gz`. */
export function formatOf(path: string): Format | undefined {
  const ending = extname(path.toLowerCase().replace(/\.gz$/, ''))
  return (Object.keys(FORMATS) as Format[]).find((format) => FORMATS[format].endings.includes(ending))
}

async function readHtml(bytes: Uint8Array, { path }: Origin): Promise<readonly Piece[]> {
  const { convert } = await import('html-to-text')
  const headings = ['h1', 'h2', 'h3', 'h4', 'h5', 'h6']
  const text = convert(decode(bytes, path), {
    wordwrap: false,
    limits: { maxInputLength: Infinity },
    selectors: [
      { selector: 'a', options: { ignoreHref: true } },
      { selector: 'img', format: 'skip' },
      { selector: 'nav', format: 'skip' },
      ...headings.map((selector) => ({ selector, options: { uppercase: false } })),
    ],
  })
  return [{ text }]
}

async function readPdf(bytes: Uint8Array, { path }: Origin): Promise<readonly Piece[]> {
  const { extractText, getDocumentProxy } = await import('unpdf')
  try {
    // A copy: it keeps the buffer. A document is data: nothing in it is run, and it says nothing on the console.
    const options = { isEvalSupported: false, verbosity: 0 }
    // Its types are of pdf.js, which it comes without.
    const document = (await getDocumentProxy(Uint8Array.from(bytes), options)) as { destroy(): Promise<void> }
    try {
      const { text } = await extractText(document, { mergePages: false })
      return [{ text: text.join('\n') }]
    } finally {
      await document.destroy()
    }
  } catch (error) {
    const reason = `not a PDF that can be read: ${reasonOf(error)}`
    throw new ModelError({ code: 'FILE_UNREADABLE', path, reason }, { cause: error })
  }
}

async function readJsonl(bytes: Uint8Array, { path, field }: Origin): Promise<readonly Piece[]> {
  return decode(bytes, path)
    .split('\n')
    .flatMap((line, index) => {
      if (line.trim() === '') return []
      const at = index + 1
      const malformed = (reason: string) => new ModelError({ code: 'DATA_MALFORMED', path, line: at, reason })
      let value: unknown
      try {
        value = JSON.parse(line)
      } catch (error) {
        throw malformed(`is not JSON: ${reasonOf(error)}`)
      }
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        throw malformed('is not a JSON object')
      if (!Object.hasOwn(value, field)) throw malformed(noField(field, Object.keys(value)))
      const text = (value as Readonly<Record<string, unknown>>)[field] ?? ''
      if (typeof text !== 'string')
        throw malformed(`field "${field}" is not text; choose another with --field`)
      return [{ at, text }]
    })
}

async function readCsv(bytes: Uint8Array, { path, field }: Origin): Promise<readonly Piece[]> {
  const { CsvError, parse } = await import('csv-parse/sync')
  const text = decode(bytes, path)
  let rows: readonly { readonly info: { readonly lines: number }; readonly record: readonly string[] }[]
  try {
    rows = parse(text, { delimiter: delimiterOf(text), info: true, skip_empty_lines: true }) as never
  } catch (error) {
    if (!(error instanceof CsvError)) throw error
    const reason = `is not CSV: ${error.message}`
    throw new ModelError(
      { code: 'DATA_MALFORMED', path, line: Number(error['lines']), reason },
      { cause: error },
    )
  }
  const [header, ...records] = rows
  if (header === undefined) return []
  const column = header.record.indexOf(field)
  if (column < 0)
    throw new ModelError({ code: 'DATA_MALFORMED', path, line: 1, reason: noField(field, header.record) })
  // The library counts a row where it ends.
  return records.map(({ info, record }) => ({ at: info.lines, text: record[column]! }))
}

/** Spreadsheets of countries that write 0,5 separate by semicolons. */
function delimiterOf(text: string): string {
  const header = text.slice(0, text.search(/[\r\n]|$/))
  const counts = [',', ';', '\t'].map((mark) => [mark, header.split(mark).length] as const)
  return counts.reduce((most, one) => (one[1] > most[1] ? one : most))[0]
}

/** More names than anyone reads. */
const SHOWN_FIELDS = 12

function noField(field: string, there: readonly string[]): string {
  const names = there.slice(0, SHOWN_FIELDS).map((name) => `"${name}"`)
  return `has no field "${field}" but ${names.join(', ')}; choose one with --field`
}

function decode(bytes: Uint8Array, path: string): string {
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
