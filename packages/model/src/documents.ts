import { readdir, stat } from 'node:fs/promises'
import { basename, extname, join, relative } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { type Format, FORMATS, formatOf } from './document-formats.ts'
import { ModelError } from './errors.ts'
import { readBytes, reasonOf } from './files.ts'

/** A piece of text that stands alone. */
export interface Document {
  /** Where it came from, relative to what the user named. */
  readonly name: string
  readonly text: string
}

/** A file that text was found in. */
export interface TextFile {
  readonly path: string
  readonly format: Format
  readonly documents: number
  readonly characters: number
}

/** A file beside these that is not trained on, and why not. */
export interface SkippedFile {
  readonly path: string
  readonly reason: string
}

export interface TextFiles {
  readonly documents: readonly Document[]
  readonly files: readonly TextFile[]
  readonly skipped: readonly SkippedFile[]
}

/** Where the text of a line or row is, unless the user says otherwise: what public data sets call it. */
const FIELD = 'text'

/**
 * Reads files of every known format, and `.gz` of them; folders are searched. Every file is a document, but of `.jsonl`
 * every line and of `.csv` every row.
 * @param field - which field of a line or row is the text
 * @throws ModelError `DATA_MISSING`, `DATA_EMPTY`, `DATA_BINARY`, `DATA_MALFORMED`, `FILE_UNREADABLE`
 */
export async function readFiles(paths: readonly string[], field = FIELD): Promise<TextFiles> {
  const documents: Document[] = []
  const files: TextFile[] = []
  const skipped: SkippedFile[] = []
  // One by one: a data set has more lines than a call may have arguments.
  for (const path of paths) {
    const found = await listFiles(path)
    for (const one of found.skipped) skipped.push(one)
    for (const { file, name, format } of found.files) {
      const pieces = await FORMATS[format].read(await unpacked(file), { path: file, field })
      const texts = pieces.filter(({ text }) => text.trim() !== '')
      if (texts.length === 0) {
        skipped.push({ path: file, reason: FORMATS[format].whenEmpty })
        continue
      }
      for (const { at, text } of texts)
        documents.push({ name: at === undefined ? name : `${name}:${at}`, text })
      const characters = texts.reduce((sum, { text }) => sum + text.length, 0)
      files.push({ path: file, format, documents: texts.length, characters })
    }
  }
  if (documents.length === 0) throw new ModelError({ code: 'DATA_EMPTY', path: paths.join(', ') })
  return { documents, files, skipped }
}

interface Found {
  readonly files: readonly { readonly file: string; readonly name: string; readonly format: Format }[]
  readonly skipped: readonly SkippedFile[]
}

async function listFiles(path: string): Promise<Found> {
  let isFolder: boolean
  try {
    isFolder = (await stat(path)).isDirectory()
  } catch (error) {
    throw new ModelError({ code: 'DATA_MISSING', path, reason: reasonOf(error) }, { cause: error })
  }
  // Whoever names a file means it, whatever it is called.
  if (!isFolder)
    return { files: [{ file: path, name: basename(path), format: formatOf(path) ?? 'text' }], skipped: [] }
  const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    // The folder itself, or one in it: what is left out unasked may be what was meant.
    const at = (error as NodeJS.ErrnoException).path ?? path
    throw new ModelError({ code: 'FILE_UNREADABLE', path: at, reason: reasonOf(error) }, { cause: error })
  })
  const all = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
  const files = all.flatMap((file) => {
    const format = formatOf(file)
    return format === undefined ? [] : [{ file, name: relative(path, file), format }]
  })
  if (files.length === 0) {
    const endings = Object.values(FORMATS).flatMap(({ endings }) => endings)
    const reason = `the folder holds no ${endings.join(', ')} file, nor .gz of these`
    throw new ModelError({ code: 'DATA_MISSING', path, reason })
  }
  const skipped = all
    .filter((file) => formatOf(file) === undefined)
    .map((file) => ({
      path: file,
      reason: `${extname(file) || 'a name without ending'} is no format that is read`,
    }))
  return { files, skipped }
}

async function unpacked(path: string): Promise<Uint8Array> {
  const bytes = await readBytes(path)
  if (!path.toLowerCase().endsWith('.gz')) return bytes
  try {
    return gunzipSync(bytes)
  } catch (error) {
    throw new ModelError(
      { code: 'FILE_UNREADABLE', path, reason: `not a gzip file: ${reasonOf(error)}` },
      { cause: error },
    )
  }
}
