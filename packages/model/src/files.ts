import { readFile } from 'node:fs/promises'
import { ModelError } from './errors.ts'

/** @throws ModelError `FILE_UNREADABLE` */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (error) {
    throw new ModelError({ code: 'FILE_UNREADABLE', path, reason: reasonOf(error) }, { cause: error })
  }
}

/** @throws ModelError `FILE_UNREADABLE`, `CONFIG_INVALID` when it is not JSON */
export async function readJson(path: string): Promise<unknown> {
  const text = new TextDecoder().decode(await readBytes(path))
  try {
    return JSON.parse(text)
  } catch (error) {
    const reason = error instanceof Error ? `is not JSON: ${error.message}` : 'is not JSON'
    throw new ModelError({ code: 'CONFIG_INVALID', path, field: '(file)', reason }, { cause: error })
  }
}

/** The system's error in words: "no such file or directory", not "ENOENT: ..., open '/x'". */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = (error as NodeJS.ErrnoException).code
  return code === undefined
    ? error.message
    : `${error.message.replace(/^[A-Z]+: /, '').split(',')[0]} (${code})`
}
