import { readSplits, requireSequence, SPLITS, tokenize, type Tokenizer, type TokenSet } from '@comigs/model'
import { readDataSet } from '../swarm/data-set.ts'

export interface User {
  readonly name: string
  readonly train: TokenSet
  readonly valid: TokenSet
  readonly test: TokenSet
}

/**
 * Every user's text as tokens, in sets of one group with the user's name.
 * @throws NodeError `OPTION_INVALID` when the folder is no data set, ModelError `DATA_TOO_SHORT` and others
 */
export async function loadUsers(folder: string, tokenizer: Tokenizer, context: number): Promise<User[]> {
  const dataSet = await readDataSet(folder)
  const users: User[] = []
  for (const name of dataSet.users) {
    const of = (split: 'train' | 'valid' | 'test') => [dataSet.file(name, split)]
    const texts = await readSplits({ train: of('train'), valid: of('valid'), test: of('test') })
    const sets = SPLITS.map((split) => {
      const { tokens } = tokenize(texts[split], tokenizer)
      const set = { tokens, groups: [{ name, from: 0, to: tokens.length }] }
      requireSequence(`${split} (${name})`, tokens.length, context)
      return set
    })
    users.push({ name, train: sets[0]!, valid: sets[1]!, test: sets[2]! })
  }
  return users
}

/** All of these, one after the other, each still a group of its own. */
export function joined(sets: readonly TokenSet[]): TokenSet {
  const tokens = new Int32Array(sets.reduce((sum, set) => sum + set.tokens.length, 0))
  const groups: TokenSet['groups'][number][] = []
  let offset = 0
  for (const set of sets) {
    tokens.set(set.tokens, offset)
    for (const { name, from, to } of set.groups) groups.push({ name, from: from + offset, to: to + offset })
    offset += set.tokens.length
  }
  return { tokens, groups }
}
