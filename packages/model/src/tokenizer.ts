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
  /** Ends a document. */
  readonly endOfText: number
  encode(text: string): Int32Array
  decode(ids: Iterable<number>): string
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
  })) as { eos_token?: unknown } | null
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
  const end = typeof config.eos_token === 'string' ? config.eos_token : '<|endoftext|>'
  const endOfText = inner.token_to_id(end)
  if (endOfText === undefined) {
    throw new ModelError({
      code: 'CONFIG_INVALID',
      path,
      field: 'added_tokens',
      reason: `lacks the end token "${end}"`,
    })
  }
  return {
    size: inner.get_vocab().size,
    endOfText,
    encode: (text) => Int32Array.from(inner.encode(text, { add_special_tokens: false }).ids),
    decode: (ids) => {
      const list = [...ids]
      return list.length === 0 ? '' : inner.decode(list, { skip_special_tokens: false })
    },
  }
}
