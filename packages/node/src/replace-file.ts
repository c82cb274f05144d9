import { rename, rm, writeFile } from 'node:fs/promises'

/**
 * Replaces a file as a whole or not at all, also where the disk runs full or the power fails. (write-file-atomic 7.0.1 does not
 * look how much of it a write has taken: on a full disk it puts the beginning in the file's place, and says nothing.)
 */
export async function replaceFile(path: string, data: Uint8Array | string, mode = 0o666): Promise<void> {
  const unfinished = `${path}.${process.pid}.partial`
  try {
    await writeFile(unfinished, data, { mode, flush: true })
    await rename(unfinished, path)
  } catch (error) {
    await rm(unfinished, { force: true })
    throw error
  }
}
