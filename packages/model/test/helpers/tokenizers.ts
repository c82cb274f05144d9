import { fileURLToPath } from 'node:url'
import { loadTokenizer, type Tokenizer } from '../../src/tokenizer.ts'

/** Folder of the base that is shipped. */
export const BASE_EN = fileURLToPath(new URL('../../../node/models/base-en/', import.meta.url))

/** Byte-level BPE of 4,096 pieces. */
export const baseTokenizer = (): Promise<Tokenizer> => loadTokenizer(BASE_EN)

const SPACE = '\u2581'
const PIECES = ['<unk>', '<s>', '</s>', SPACE, 'a', 'b', 'c', `${SPACE}a`, `${SPACE}b`, 'bc']

/** As Llama's are written down (SentencePiece's BPE): a space before the first word, which decoding takes away again. */
export const llamaDefinition = (template: boolean) => ({
  version: '1.0',
  added_tokens: [0, 1, 2].map((id) => ({ id, content: PIECES[id], special: true, normalized: false })),
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'Prepend', prepend: SPACE },
      { type: 'Replace', pattern: { String: ' ' }, content: SPACE },
    ],
  },
  pre_tokenizer: null,
  post_processor: template
    ? {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 0 } }],
        special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
      }
    : null,
  decoder: {
    type: 'Sequence',
    decoders: [
      { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
      { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: 1, stop: 0 },
    ],
  },
  model: {
    ...{ type: 'BPE', unk_token: '<unk>', fuse_unk: true, byte_fallback: false, ignore_merges: false },
    vocab: Object.fromEntries(PIECES.map((piece, id) => [piece, id])),
    merges: [
      [SPACE, 'a'],
      [SPACE, 'b'],
      ['b', 'c'],
    ],
  },
})
