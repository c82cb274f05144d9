import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { DEFAULT_BASE } from '../src/base-folder.ts'
import { serve } from '../src/cli/serve-command.ts'
import { newManifest, undescribed } from '../src/new-manifest.ts'
import { openStateDirectory } from '../src/state/state-directory.ts'
import type { Training } from '../src/training/training-worker.ts'

it('serve ends when it is stopped while it loads', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'comigs-serve-'))
  const state = await openStateDirectory(folder)
  await state.saveManifest(await newManifest(DEFAULT_BASE, undescribed()))
  await state.saveCheckpoint(new Uint8Array())
  await state.release()

  const stop = new AbortController()
  /** Loads without end, and is stopped then. */
  const training = {
    load: () => {
      stop.abort()
      return new Promise(() => undefined)
    },
  } as unknown as Training
  const http = { host: '127.0.0.1', port: 0 }
  const flags = { state: folder, baseDtype: 'auto', engine: 'auto', threads: 1, http } as const
  expect(await serve(flags, training, stop.signal)).toBeUndefined()
  await rm(folder, { recursive: true })
})
