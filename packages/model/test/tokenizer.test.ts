import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { tokenize } from '../src/data.ts'
import { createDetokenizer } from '../src/generated-text.ts'
import { loadTokenizer } from '../src/tokenizer.ts'
import { folderOf } from './helpers/files.ts'
import { refusal } from './helpers/refusals.ts'
import { BASE_EN, baseTokenizer, llamaDefinition } from './helpers/tokenizers.ts'
import { fc } from './helpers/properties.ts'

const tokenizer = await baseTokenizer()
const definition = await readFile(`${BASE_EN}tokenizer.json`)
const roundTrip = (text: string) => tokenizer.decode(tokenizer.encode(text))

describe('the tokenizer of base-en', () => {
  it('has 4,096 pieces, of which one ends a document', () => {
    expect(tokenizer.size).toBe(4096)
    expect(tokenizer.decode([tokenizer.endOfText])).toBe('<|endoftext|>')
    expect([...tokenizer.encode('<|endoftext|>')]).toEqual([tokenizer.endOfText])
  })

  it('gives any text back as it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }), (text) => {
        expect(roundTrip(text)).toBe(text)
      }),
      { numRuns: 300 },
    )
  })

  it('gives text of readable characters back as it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }), (text) => {
        expect(roundTrip(text)).toBe(text)
      }),
      { numRuns: 200 },
    )
  })

  it.each([
    ['nothing', ''],
    ['spaces before punctuation', 'a , b . c ! d ? e \' f "'],
    ['contractions', "don't  we 've I 'm"],
    ['runs of spaces, tabs and ends of lines', '  a\t\t b \r\n\r\n  c\u00a0\u2003 d \n'],
    ['control characters', '\u0000\u0001\u001f\u007f\u0085'],
    ['other scripts', 'Привет 你好 مرحبا हिन्दी ไทย 한국어'],
    ['what takes four bytes', '🙂👩‍👩‍👧‍👦🏳️‍🌈 𝒜𠀀'],
    ['composed and decomposed accents', 'é e\u0301 Å A\u030a'],
    ['the replacement character', 'a\ufffdb'],
    ['a byte order mark in front', '\ufefftext'],
    ['a byte order mark inside', 'te\ufeffxt'],
    ['digits and symbols', '3.14159e-10 == £5 #!/@'],
    ['the end of a document inside', 'one<|endoftext|>two'],
  ])('gives back %s', (_, text) => {
    expect(roundTrip(text)).toBe(text)
  })

  it('covers every byte', () => {
    // Between them they hold every byte that UTF-8 uses; thirteen it never does.
    const from = (count: number, of: (i: number) => number) =>
      Array.from({ length: count }, (_, i) => String.fromCodePoint(of(i))).join('')
    const texts = [
      from(0x80, (i) => i),
      from(0x40, (i) => 0x80 + i),
      from(0x20, (i) => i << 6),
      from(0x110, (i) => i << 12),
      '\u0800',
    ]
    const bytes = new Set(texts.flatMap((text) => [...new TextEncoder().encode(text)]))
    expect(bytes.size).toBe(256 - 13)
    for (const text of texts) expect(roundTrip(text)).toBe(text)
  })

  it('makes English shorter than its bytes', () => {
    const text = 'The quick brown fox jumps over the lazy dog, and then the dog sleeps for a while.'
    expect(tokenizer.encode(text).length).toBeLessThan(text.length / 2.5)
  })
})

describe("Llama's tokenizer", () => {
  const loaded = async (template: boolean, config: object) =>
    loadTokenizer(
      await folderOf({
        'tokenizer.json': JSON.stringify(llamaDefinition(template)),
        'tokenizer_config.json': JSON.stringify({ eos_token: '</s>', ...config }),
      }),
    )
  const [begin, end] = [1, 2]

  it.each<[string, boolean, object]>([
    ['its template says', true, {}],
    ['its config says', false, { bos_token: '<s>', add_bos_token: true }],
    ['its config says at length', false, { bos_token: { content: '<s>' }, add_bos_token: true }],
  ])('begins a document where %s so', async (_, template, config) => {
    const tokenizer = await loaded(template, config)
    expect(tokenizer).toMatchObject({ beginOfText: begin, endOfText: end })
    expect([...tokenizer.encodeDocument('a b')]).toEqual([begin, ...tokenizer.encode('a b')])
    expect([...tokenizer.encodeDocument('')]).toEqual([begin])
    expect(tokenizer.decode(tokenizer.encode('a b'))).toBe('a b')
  })

  it('begins a book, too, which has more tokens than a call may have arguments', async () => {
    const tokenizer = await loaded(true, {})
    const text = 'c'.repeat(200_000)
    expect(tokenizer.encodeDocument(text).length).toBe(tokenizer.encode(text).length + 1)
  })

  it.each([{}, { bos_token: '<s>' }, { bos_token: '<s>', add_bos_token: false }])(
    'begins none where nobody says so: %j',
    async (config) => {
      const tokenizer = await loaded(false, config)
      expect(tokenizer.beginOfText).toBeUndefined()
      expect(tokenizer.encodeDocument('a b')).toEqual(tokenizer.encode('a b'))
      expect([...tokenizer.encodeDocument('')]).toEqual([end])
    },
  )

  it('takes an end token that its config names at length', async () => {
    expect((await loaded(true, { eos_token: { content: '</s>' } })).endOfText).toBe(end)
  })

  it.each([
    ['two marks', '</s>', (ids: number[][]) => ids.flatMap((one) => [begin, ...one, end])],
    ['one mark', '<s>', (ids: number[][]) => [begin, ...ids.flatMap((one) => [...one, begin])]],
  ])('parts documents by %s', async (_, eos_token, expected) => {
    const tokenizer = await loaded(true, { eos_token })
    const documents = ['a b', 'bc', 'a'].map((text) => ({ name: '', text }))
    const { tokens } = tokenize([{ name: '', documents }], tokenizer)
    expect([...tokens]).toEqual(expected(documents.map(({ text }) => [...tokenizer.encode(text)])))
  })

  it.each([
    ['a b', ' a bc'],
    ['a', ' b a'],
    ['a', 'bc'],
    ['', 'a b'],
  ])('keeps the spaces of what follows %j', async (prompt, text) => {
    const tokenizer = await loaded(true, {})
    const whole = [...tokenizer.encode(prompt + text)]
    const read = prompt === '' ? [] : [...tokenizer.encode(prompt)]
    expect(whole.slice(0, read.length)).toEqual(read)
    const detokenizer = createDetokenizer(tokenizer, read)
    const made = whole.slice(read.length).map((id) => detokenizer.push(id))
    expect(made.join('')).toBe(text)
  })
})

describe('loadTokenizer', () => {
  it('does without a tokenizer_config.json', async () => {
    const folder = await folderOf({ 'tokenizer.json': definition })
    const bare = await loadTokenizer(folder)
    expect(bare.endOfText).toBe(tokenizer.endOfText)
    expect(bare.decode(bare.encode('a , b'))).toBe('a , b')
  })

  it('takes the end token that tokenizer_config.json names', async () => {
    const folder = await folderOf({
      'tokenizer.json': definition,
      'tokenizer_config.json': JSON.stringify({ tokenizer_class: 'GPT2Tokenizer', eos_token: 'e' }),
    })
    const other = await loadTokenizer(folder)
    expect(other.endOfText).toBe(tokenizer.encode('e')[0])
  })

  it.each<[string, Record<string, string | Uint8Array>, object]>([
    ['no file', {}, { code: 'FILE_UNREADABLE' }],
    ['a file that is not JSON', { 'tokenizer.json': '{' }, { code: 'CONFIG_INVALID', field: '(file)' }],
    ['JSON of something else', { 'tokenizer.json': '{"a": 1}' }, { code: 'CONFIG_INVALID', field: 'model' }],
    ['a number', { 'tokenizer.json': '7' }, { code: 'CONFIG_INVALID', field: 'model' }],
    ['null', { 'tokenizer.json': 'null' }, { code: 'CONFIG_INVALID' }],
    [
      'a config that is null',
      { 'tokenizer.json': definition, 'tokenizer_config.json': 'null' },
      { code: 'CONFIG_INVALID' },
    ],
    [
      'a config that is not JSON',
      { 'tokenizer.json': definition, 'tokenizer_config.json': '{' },
      { code: 'CONFIG_INVALID' },
    ],
    [
      'an end token that does not exist',
      { 'tokenizer.json': definition, 'tokenizer_config.json': '{"eos_token": "<|nowhere|>"}' },
      { code: 'CONFIG_INVALID', field: 'added_tokens' },
    ],
  ])('refuses %s', async (_, files, expected) => {
    const folder = await folderOf(files)
    expect(await refusal(() => loadTokenizer(folder))).toMatchObject(expected)
  })
})
