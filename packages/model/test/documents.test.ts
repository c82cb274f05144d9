import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { gzipSync } from 'node:zlib'
import { chmod, readFile } from 'node:fs/promises'
import { type Document, readFiles } from '../src/documents.ts'
import { readText } from '../src/data.ts'
import { folderOf } from './helpers/files.ts'
import { refusal } from './helpers/refusals.ts'

const FIXTURES = fileURLToPath(new URL('fixtures/documents/', import.meta.url))
const fixture = (name: string) => join(FIXTURES, name)

const documentsOf = async (...paths: readonly string[]) => (await readFiles(paths)).documents

describe('text files', () => {
  it('reads files, folders in depth and gzip, by name in order', async () => {
    const folder = await folderOf({
      'b.txt': 'two',
      'a.md': 'one',
      'deep/er/c.txt.gz': gzipSync('three'),
      'deep/d.md.gz': gzipSync('four'),
      'ignored.json': '{}',
      'ignored.gz': gzipSync('five'),
    })
    const documents: Document[] = [
      { name: 'a.md', text: 'one' },
      { name: 'b.txt', text: 'two' },
      { name: 'deep/d.md.gz', text: 'four' },
      { name: 'deep/er/c.txt.gz', text: 'three' },
    ]
    expect(await documentsOf(folder)).toEqual(documents)
    expect(await documentsOf(join(folder, 'b.txt'), join(folder, 'deep'))).toEqual([
      { name: 'b.txt', text: 'two' },
      { name: 'd.md.gz', text: 'four' },
      { name: 'er/c.txt.gz', text: 'three' },
    ])
  })

  it('takes a file that is named itself whatever it is called', async () => {
    const folder = await folderOf({ corpus: 'text' })
    expect(await documentsOf(join(folder, 'corpus'))).toEqual([{ name: 'corpus', text: 'text' }])
  })

  it('reads a data set of more lines than a call may have arguments', async () => {
    const lines = Array.from({ length: 200_000 }, (_, i) => `{"text":"${i}"}`)
    const documents = await documentsOf(join(await folderOf({ 'a.jsonl': lines.join('\n') }), 'a.jsonl'))
    expect(documents.length).toBe(lines.length)
    expect(documents.at(-1)).toEqual({ name: 'a.jsonl:200000', text: '199999' })
  })

  it('reads UTF-8 without its byte order mark', async () => {
    const folder = await folderOf({ 'a.txt': '\ufeffzażółć 🙂' })
    expect(await documentsOf(folder)).toEqual([{ name: 'a.txt', text: 'zażółć 🙂' }])
  })

  it.each(['.', 'closed'])('refuses a folder that it may not look into: %s', async (name) => {
    const folder = await folderOf({ 'a.txt': 'open', 'closed/b.txt': 'closed' })
    const closed = join(folder, 'closed')
    await chmod(folder, 0o755)
    await chmod(closed, 0)
    const refused = await asAnyone(() => refusal(() => readFiles([join(folder, name)])))
    expect(refused).toMatchObject({ code: 'FILE_UNREADABLE', path: closed })
  })

  it.each<[string, Record<string, string | Uint8Array>, string, object]>([
    ['a path that does not exist', {}, 'nowhere', { code: 'DATA_MISSING' }],
    ['a folder without text', { 'a.json': '{}' }, '.', { code: 'DATA_MISSING' }],
    ['an empty file', { 'a.txt': '' }, 'a.txt', { code: 'DATA_EMPTY' }],
    ['files of nothing but space', { 'a.txt': ' \n', 'b.md': '\t' }, '.', { code: 'DATA_EMPTY' }],
    ['a zero byte', { 'a.txt': Buffer.from('żółw\0x') }, 'a.txt', { code: 'DATA_BINARY', offset: 7 }],
    [
      'a first byte that is no UTF-8',
      { 'a.txt': Buffer.of(0xff, 0x41) },
      '.',
      { code: 'DATA_BINARY', offset: 0 },
    ],
    [
      'a byte that is no UTF-8, behind characters of several bytes',
      { 'a.txt': Buffer.concat([Buffer.from('żółw 🙂 '), Buffer.of(0xfe), Buffer.from('ż')]) },
      'a.txt',
      { code: 'DATA_BINARY', offset: 13 },
    ],
    [
      'a byte that only continues, behind a long text',
      {
        'a.txt': Buffer.concat([Buffer.from('ä'.repeat(5000)), Buffer.of(0x80), Buffer.from('ä'.repeat(77))]),
      },
      'a.txt',
      { code: 'DATA_BINARY', offset: 10_000 },
    ],
    [
      'a zero byte inside gzip',
      { 'a.txt.gz': gzipSync(Buffer.from('ab\0')) },
      'a.txt.gz',
      { code: 'DATA_BINARY', offset: 2 },
    ],
    ['gzip that is none', { 'a.txt.gz': 'plain' }, '.', { code: 'FILE_UNREADABLE' }],
    [
      'gzip that is cut off',
      { 'a.txt.gz': gzipSync('a'.repeat(99)).subarray(0, 20) },
      '.',
      { code: 'FILE_UNREADABLE' },
    ],
  ])('refuses %s', async (_, files, path, expected) => {
    const folder = await folderOf(files)
    expect(await refusal(() => readFiles([join(folder, path)]))).toMatchObject(expected)
  })

  it('points into the character that a cut-off file ends with', async () => {
    const folder = await folderOf({ 'a.txt': Buffer.from('ab🙂').subarray(0, 5) })
    const detail = await refusal(() => readFiles([folder]))
    expect(detail).toMatchObject({ code: 'DATA_BINARY' })
    expect([2, 3, 4]).toContain('offset' in detail ? detail.offset : undefined)
  })

  it('refuses nothing at all', async () => {
    expect(await refusal(() => readFiles([]))).toMatchObject({ code: 'DATA_EMPTY' })
  })
})

describe('files that hold more than text', () => {
  const textsOf = async (name: string, field?: string) =>
    (await readFiles([fixture(name)], field)).documents.map(({ text }) => text)

  it('.jsonl: every line is a document, empty ones are none', async () => {
    expect((await readFiles([fixture('notes.jsonl')])).documents).toEqual([
      { name: 'notes.jsonl:1', text: 'The heron came back to the mill pond.' },
      { name: 'notes.jsonl:2', text: 'Two lines\nin one note.' },
      { name: 'notes.jsonl:6', text: 'Żaneta heard one curlew 🙂' },
    ])
    expect(await textsOf('notes.jsonl', 'body')).toHaveLength(5)
  })

  it('.csv: every row is a document, with quotes, line breaks and a byte order mark', async () => {
    expect(await textsOf('notes.csv')).toEqual([
      'The heron came back, two days earlier.',
      'Two lines\r\nin one "note".',
      'Żaneta heard one curlew 🙂',
    ])
    expect(await textsOf('notes.csv', 'body')).toEqual(['heron', 'lines', 'nothing', 'curlew'])
  })

  it('.csv separated by semicolons, as spreadsheets of half the world write it', async () => {
    expect(await textsOf('semicolons.csv')).toEqual([
      'Der Reiher kam zurück, zwei Tage früher.',
      'Elf Kiebitze; ein Brachvogel.',
    ])
  })

  it('.html: what a reader sees, without menus, scripts, styles, addresses and pictures', async () => {
    const [text] = await textsOf('notes.html')
    expect(text!.split(/\n+/)).toEqual([
      'Field notes',
      'The heron came back to the mill pond on the second of March & stood where the ice had gone first.',
      'Żaneta saw it, too.',
      ' * eleven lapwings',
      ' * one curlew',
    ])
  })

  it('.pdf: the text of all pages', async () => {
    const [text] = await textsOf('notes.pdf')
    expect(text).toContain('We counted eleven lapwings over the wet meadow & heard one curlew')
    expect(text).toContain('as Żaneta calls it.\nOn the second page there is only this')
  })

  it('and .gz of them, whatever the case of the ending', async () => {
    const folder = await folderOf({
      'A.JSONL.GZ': gzipSync(await readFile(fixture('notes.jsonl'))),
      'b.html.gz': gzipSync('<p>in a page</p>'),
    })
    expect((await documentsOf(folder)).map(({ text }) => text)).toContain('in a page')
    expect(await documentsOf(folder)).toHaveLength(4)
  })

  it.each<[string, string, string, object]>([
    ['a line that is no JSON', 'a.jsonl', '{"text":"x"}\n\n{"text":', { line: 3, code: 'DATA_MALFORMED' }],
    ['a line that is no object', 'a.jsonl', '["text"]', { line: 1, reason: 'is not a JSON object' }],
    ['a line without the field', 'a.jsonl', '{"text":"x"}\n{"body":"y"}', { line: 2 }],
    ['a field that is no text', 'a.jsonl', '{"text":{"de":"x"}}', { line: 1 }],
    ['a field of every object', 'a.jsonl', '{"toString":1}', { line: 1 }],
    [
      'a row with too many fields',
      'a.csv',
      'id,text\n1,"x\ny"\n2,y,z\n',
      { line: 4, code: 'DATA_MALFORMED' },
    ],
    ['a quote that is not closed', 'a.csv', 'id,text\n1,"x\n', { code: 'DATA_MALFORMED' }],
    ['a header without the field', 'a.csv', 'id,body\n1,x\n', { line: 1, code: 'DATA_MALFORMED' }],
    ['a page that is no UTF-8', 'a.html', '<p>\0', { code: 'DATA_BINARY', offset: 3 }],
    ['a PDF that is none', 'a.pdf', 'not a PDF', { code: 'FILE_UNREADABLE' }],
    ['a PDF that is cut off', 'a.pdf', '%PDF-1.4\n1 0 obj\n<</Type', { code: 'FILE_UNREADABLE' }],
  ])('refuses %s, with the place', async (_, name, contents, expected) => {
    const folder = await folderOf({ [name]: contents })
    const path = join(folder, name)
    expect(await refusal(() => readFiles([folder]))).toMatchObject({ path, ...expected })
  })

  it('names the fields that are there, where the one asked for is not', async () => {
    const detail = await refusal(() => readFiles([fixture('notes.csv')], 'texts'))
    expect(detail).toMatchObject({ reason: expect.stringContaining('"id", "text", "body"') as string })
    const lines = await refusal(() => readFiles([fixture('notes.jsonl')], 'texts'))
    expect(lines).toMatchObject({
      line: 1,
      reason: expect.stringContaining('"id", "text", "body"') as string,
    })
  })
})

describe('what was read', () => {
  it('is told by file, and what was skipped with its reason', async () => {
    const { files, skipped } = await readText({ data: [FIXTURES] })
    expect(files.map(({ path, ...rest }) => ({ path: path.slice(FIXTURES.length), ...rest }))).toEqual([
      { path: 'notes.csv', format: 'csv', documents: 3, characters: 89 },
      { path: 'notes.html', format: 'html', documents: 1, characters: 164 },
      { path: 'notes.jsonl', format: 'jsonl', documents: 3, characters: 85 },
      { path: 'notes.pdf', format: 'pdf', documents: 1, characters: 358 },
      { path: 'semicolons.csv', format: 'csv', documents: 2, characters: 69 },
    ])
    expect(skipped).toEqual([{ path: fixture('scan.pdf'), reason: expect.stringContaining('OCR') as string }])
  })

  it('of three sets is that of all three', async () => {
    const folder = await folderOf({ 'a.txt': 'one', 'b.txt': 'two', 'c/c.txt': 'three', 'c/c.png': '' })
    const [train, valid, test] = ['a.txt', 'b.txt', 'c'].map((name) => [join(folder, name)])
    const { files, skipped } = await readText({ train: train!, valid: valid!, test: test! })
    expect(files.map(({ path }) => path.slice(folder.length + 1))).toEqual(['a.txt', 'b.txt', 'c/c.txt'])
    expect(skipped).toEqual([{ path: join(folder, 'c/c.png'), reason: '.png is no format that is read' }])
  })
})

const NOBODY = 65_534

/** As root may look into everything, as somebody who may not. */
async function asAnyone<T>(run: () => Promise<T>): Promise<T> {
  const isRoot = process.geteuid?.() === 0
  if (isRoot) process.seteuid?.(NOBODY)
  try {
    return await run()
  } finally {
    if (isRoot) process.seteuid?.(0)
  }
}
