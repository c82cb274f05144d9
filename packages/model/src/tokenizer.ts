import * as tokenizers from '@huggingface/tokenizers'
import { join } from 'node:path'
import { ModelError } from './errors.ts'
import { readJson } from './files.ts'

/** What we use of the library, whose own declarations do not resolve under `nodenext`. */
interface InnerTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] }
  decode(ids: number[], options: { skip_special_tokens: boolean }): string
  token_to_id(token: string): number | undefined
  get_vocab(): Map<string, number>
}
const { Tokenizer: InnerTokenizer } = tokenizers as unknown as {
  Tokenizer: new (definition: unknown, config: unknown) => InnerTokenizer
}

export interface Tokenizer {
  /** Pieces, special ones included. */
  readonly size: number
  /** Begins a document, where the model was trained with such a mark: Llama's were, GPT-2 was not. */
  readonly beginOfText: number | undefined
  /** Ends a document. */
  readonly endOfText: number
  encode(text: string): Int32Array
  /**
   * What a model reads before it goes on with a text: the text behind the mark that begins a document. Never empty, for a
   * model continues something: where there is no such mark, nothing is the end of the document before.
   */
  encodeDocument(text: string): Int32Array
  decode(ids: Iterable<number>): string
}

interface TokenizerConfig {
  readonly bos_token?: unknown
  readonly eos_token?: unknown
  readonly add_bos_token?: unknown
}

/**
 * Loads `tokenizer.json` (and `tokenizer_config.json`, where there is one) from a Hugging Face model folder.
 * @throws ModelError `FILE_UNREADABLE`, `CONFIG_INVALID`
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const path = join(folder, 'tokenizer.json')
  const definition = (await readJson(path)) as { added_tokens?: { id: number; content: string }[] }
  const configPath = join(folder, 'tokenizer_config.json')
  const config = (await readJson(configPath).catch((error: unknown) => {
    if (error instanceof ModelError && error.detail.code === 'FILE_UNREADABLE') return {}
    throw error
  })) as TokenizerConfig | null
  if (typeof config !== 'object' || config === null)
    throw new ModelError({
      code: 'CONFIG_INVALID',
      path: configPath,
      field: '(file)',
      reason: 'is not an object',
    })
  let inner: InnerTokenizer
  try {
    // Decoding must give back exactly what was encoded; the library's default tidies spaces before punctuation.
    inner = new InnerTokenizer(definition, { clean_up_tokenization_spaces: false, ...config })
  } catch (error) {
    const reason = `is not a tokenizer that can be loaded: ${error instanceof Error ? error.message : String(error)}`
    throw new ModelError({ code: 'CONFIG_INVALID', path, field: 'model', reason }, { cause: error })
  }
  const end = contentOf(config.eos_token) ?? '<|endoftext|>'
  const endOfText = inner.token_to_id(end)
  if (endOfText === undefined) {
    throw new ModelError({
      code: 'CONFIG_INVALID',
      path,
      field: 'added_tokens',
      reason: `lacks the end token "${end}"`,
    })
  }
  const beginOfText = beginOf(inner, config)
  const encode = (text: string) => Int32Array.from(inner.encode(text, { add_special_tokens: false }).ids)
  return {
    size: inner.get_vocab().size,
    beginOfText,
    endOfText,
    encode,
    encodeDocument(text) {
      const ids = encode(text)
      // In a literal: a book has more tokens than a call may have arguments.
      if (beginOfText !== undefined) return Int32Array.from([beginOfText, ...ids])
      return ids.length === 0 ? Int32Array.of(endOfText) : ids
    },
    decode: (ids) => {
      const list = [...ids]
      return list.length === 0 ? '' : inner.decode(list, { skip_special_tokens: false })
    },
  }
}

/** A token as `tokenizer_config.json` names it: by its text, or as an object around that. */
function contentOf(token: unknown): string | undefined {
  const text = typeof token === 'object' && token !== null && 'content' in token ? token.content : token
  return typeof text === 'string' ? text : undefined
}

/** What the tokenizer's template puts before a text; or what `add_bos_token` asks for, which the library does not know. */
function beginOf(inner: InnerTokenizer, config: TokenizerConfig): number | undefined {
  const [first] = inner.encode('a', { add_special_tokens: true }).ids
  const [plain] = inner.encode('a', { add_special_tokens: false }).ids
  if (first !== plain) return first
  const token = config.add_bos_token === true ? contentOf(config.bos_token) : undefined
  return token === undefined ? undefined : inner.token_to_id(token)
}
