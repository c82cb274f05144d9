import { fileURLToPath } from 'node:url'
import { loadTokenizer, type Tokenizer } from '../../src/tokenizer.ts'

/** Folder of the base that is shipped. */
export const BASE_EN = fileURLToPath(new URL('../../../node/models/base-en/', import.meta.url))

/** Byte-level BPE of 4,096 pieces. */
export const baseTokenizer = (): Promise<Tokenizer> => loadTokenizer(BASE_EN)
