// Turns a model of llama2.c's first export format, and its tokenizer, into a Hugging Face Llama folder.
//   node scripts/convert-llama2c.mjs stories260K.bin tok512.bin stories260K/
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { hubConfig, writeSafetensors } from '@comigs/model'

const [modelFile, tokenizerFile, out] = process.argv.slice(2)
if (out === undefined) {
  console.error('usage: node scripts/convert-llama2c.mjs <model.bin> <tokenizer.bin> <folder>')
  process.exit(2)
}

const BEGIN = 1
const END = 2
const FIRST_BYTE = 3
const SPACE = '\u2581'

/** Seven int32, then float32 arrays one after the other, each with a layer axis first. */
function readModel(bytes) {
  const [width, hidden, layers, heads, kvHeads, vocabulary, positions] = new Int32Array(bytes.buffer, 0, 7)
  const vocabSize = Math.abs(vocabulary)
  const headWidth = width / heads
  let at = 28
  const take = (...shape) => {
    const values = new Float32Array(
      bytes.buffer,
      at,
      shape.reduce((n, d) => n * d, 1),
    )
    at += values.byteLength
    return { shape, values }
  }
  const perLayer = (...shape) => Array.from({ length: layers }, () => take(...shape))
  const embedding = take(vocabSize, width)
  const parts = {
    input_layernorm: perLayer(width),
    'self_attn.q_proj': perLayer(heads * headWidth, width).map((w) => halves(w, headWidth)),
    'self_attn.k_proj': perLayer(kvHeads * headWidth, width).map((w) => halves(w, headWidth)),
    'self_attn.v_proj': perLayer(kvHeads * headWidth, width),
    'self_attn.o_proj': perLayer(width, heads * headWidth),
    post_attention_layernorm: perLayer(width),
    'mlp.gate_proj': perLayer(hidden, width),
    'mlp.down_proj': perLayer(width, hidden),
    'mlp.up_proj': perLayer(hidden, width),
  }
  const norm = take(width)
  take(2, positions, headWidth / 2) // cosines and sines
  const tied = vocabulary > 0 // a negative size says that a head follows
  const arrays = [
    { name: 'model.embed_tokens.weight', ...embedding },
    ...Object.entries(parts).flatMap(([part, list]) =>
      list.map((array, layer) => ({ name: `model.layers.${layer}.${part}.weight`, ...array })),
    ),
    { name: 'model.norm.weight', ...norm },
    ...(tied ? [] : [{ name: 'lm_head.weight', ...take(vocabSize, width) }]),
  ]
  if (at !== bytes.byteLength) {
    console.error(
      `${modelFile}: its header asks for ${at} bytes, it has ${bytes.byteLength}; not llama2.c's first format`,
    )
    process.exit(1)
  }
  const config = {
    ...{ architecture: 'llama', vocabSize, positions, width, layers, heads, kvHeads, headWidth, hidden },
    ...{ epsilon: 1e-5, rope: { theta: 10_000, scaling: undefined }, tied },
  }
  return { config, arrays }
}

/** llama2.c turns channels 2i and 2i + 1 of a head together, Hugging Face channels i and i + D/2. */
function halves({ shape, values }, headWidth) {
  const [rows, columns] = shape
  const moved = new Float32Array(values.length)
  for (let row = 0; row < rows; row++) {
    const channel = row % headWidth
    const from = row - channel + 2 * (channel % (headWidth / 2)) + Math.floor(channel / (headWidth / 2))
    moved.set(values.subarray(from * columns, (from + 1) * columns), row * columns)
  }
  return { shape, values: moved }
}

/** An int32, then for each piece its score as float32, its length as int32 and its bytes. */
function readPieces(bytes, vocabSize) {
  const view = new DataView(bytes.buffer)
  const pieces = []
  for (let at = 4; pieces.length < vocabSize;) {
    const length = view.getInt32(at + 4, true)
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(at + 8, at + 8 + length))
    pieces.push({ score: view.getFloat32(at, true), text: text.replaceAll(' ', SPACE) })
    at += 8 + length
  }
  return pieces
}

/** SentencePiece's BPE as Hugging Face writes it down: what may be joined, best score first. */
function tokenizer(pieces) {
  const names = pieces.map(({ text }, id) => {
    if (id < FIRST_BYTE) return ['<unk>', '<s>', '</s>'][id]
    if (id < FIRST_BYTE + 256) return `<0x${(id - FIRST_BYTE).toString(16).toUpperCase().padStart(2, '0')}>`
    return text
  })
  const ids = new Map(names.map((name, id) => [name, id]))
  const merges = []
  for (const [id, name] of names.entries()) {
    const characters = id < FIRST_BYTE + 256 ? [] : [...name]
    for (let cut = 1; cut < characters.length; cut++) {
      const [left, right] = [characters.slice(0, cut).join(''), characters.slice(cut).join('')]
      if (ids.has(left) && ids.has(right)) merges.push({ left, right, score: pieces[id].score })
    }
  }
  merges.sort((a, b) => b.score - a.score)
  const special = (id) => ({
    ...{ id, content: names[id], single_word: false, lstrip: false, rstrip: false },
    ...{ normalized: false, special: true },
  })
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(0), special(BEGIN), special(END)],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: SPACE },
        { type: 'Replace', pattern: { String: ' ' }, content: SPACE },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 0 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [BEGIN], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      ...{ type: 'BPE', dropout: null, unk_token: '<unk>', continuing_subword_prefix: null },
      ...{ end_of_word_suffix: null, fuse_unk: true, byte_fallback: true, ignore_merges: false },
      vocab: Object.fromEntries(ids),
      merges: merges.map(({ left, right }) => [left, right]),
    },
  }
}

/** A copy that starts at 0. */
const read = (file) => new Uint8Array(readFileSync(file))
const json = (value) => `${JSON.stringify(value, null, 2)}\n`

const { config, arrays } = readModel(read(modelFile))
const pieces = readPieces(read(tokenizerFile), config.vocabSize)
mkdirSync(out, { recursive: true })
writeFileSync(
  join(out, 'config.json'),
  json({ ...hubConfig(config), bos_token_id: BEGIN, eos_token_id: BEGIN }),
)
writeFileSync(join(out, 'tokenizer.json'), json(tokenizer(pieces)))
// Its stories are separated by the mark that begins one; none was ever ended by the other.
writeFileSync(
  join(out, 'tokenizer_config.json'),
  json({ tokenizer_class: 'LlamaTokenizer', bos_token: '<s>', eos_token: '<s>', unk_token: '<unk>' }),
)
writeFileSync(join(out, 'model.safetensors'), writeSafetensors(arrays, { format: 'pt' }))
