import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { NodeError } from '../errors.ts'

/** A folder of `<user>.{train,valid,test}.txt[.gz]` files: one private text a user. */
export interface DataSet {
  readonly users: readonly string[]
  file(user: string, split: 'train' | 'valid' | 'test'): string
}

const FILE = /^(.+)\.(train|valid|test)\.txt(\.gz)?$/

/** @throws NodeError `OPTION_INVALID` when the folder is not such a set */
export async function readDataSet(folder: string): Promise<DataSet> {
  const invalid = (reason: string) =>
    new NodeError({ code: 'OPTION_INVALID', option: '--data-set', value: folder, reason })
  const names = await readdir(folder).catch((error: unknown) => {
    throw invalid(`cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  })
  const files = new Map<string, string>()
  for (const name of names.sort()) {
    const match = FILE.exec(name)
    if (match !== null) files.set(`${match[1]!}.${match[2]!}`, join(folder, name))
  }
  const users = [...new Set([...files.keys()].map((key) => key.replace(/\.(train|valid|test)$/, '')))]
  if (users.length === 0) throw invalid('holds no <user>.train.txt, <user>.valid.txt and <user>.test.txt')
  for (const user of users) {
    for (const split of ['train', 'valid', 'test']) {
      if (!files.has(`${user}.${split}`)) throw invalid(`lacks ${user}.${split}.txt`)
    }
  }
  return { users, file: (user, split) => files.get(`${user}.${split}`)! }
}
