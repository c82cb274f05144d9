import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openStateDirectory, type StateDirectory } from '../src/state/state-directory.ts'

/** Our sources as they are, as ES modules. */
const NODE_OPTIONS = [
  ...['--conditions=@comigs/source', '--input-type=module'],
  ...['--import', new URL('../../../scripts/typescript.mjs', import.meta.url).href],
]

describe('the state directory', () => {
  let folder: string
  let state: StateDirectory
  beforeEach(async () => {
    folder = join(await mkdtemp(join(tmpdir(), 'comigs-state-')), 'state')
    state = await openStateDirectory(folder)
  })
  afterEach(async () => {
    await state.release()
    await rm(folder, { recursive: true, force: true })
  })

  it('makes a key once and keeps it', async () => {
    const key = await state.key()
    expect(key.type).toBe('Ed25519')
    expect((await state.key()).raw).toEqual(key.raw)
  })

  it('lets nobody else read what is in it', async () => {
    await state.key()
    await state.saveCheckpoint(Uint8Array.of(1))
    expect((await stat(folder)).mode & 0o077).toBe(0)
    for (const name of await readdir(folder)) {
      expect((await stat(join(folder, name))).mode & 0o077, name).toBe(0)
    }
  })

  it('keeps the checkpoint before the newest', async () => {
    for (const byte of [1, 2, 3]) await state.saveCheckpoint(Uint8Array.of(byte))
    expect((await state.checkpoints()).map(({ bytes }) => bytes[0])).toEqual([3, 2])
  })

  it('gives back what was published, or nothing when the file is torn', async () => {
    const own = {
      epoch: 5,
      sequence: 2,
      round: 7,
      copy: Float32Array.of(1, -2, 3),
      announcement: Uint8Array.of(9),
      payload: Uint8Array.of(8, 8),
    }
    await state.saveOwnState(own)
    expect(await state.ownState(3)).toMatchObject({ epoch: 5, sequence: 2, round: 7, copy: own.copy })
    expect(await state.ownState(4)).toBeUndefined()
    const path = join(folder, 'published')
    const bytes = await readFile(path)
    await writeFile(path, bytes.subarray(0, bytes.length - 1))
    expect(await state.ownState(3)).toBeUndefined()
  })

  it('takes over the lock of a process that is gone, but not of one that runs', async () => {
    await state.release()
    await writeFile(join(folder, 'pid'), '999999999')
    state = await openStateDirectory(folder)
    await writeFile(join(folder, 'pid'), '1')
    await expect(openStateDirectory(folder)).rejects.toMatchObject({
      detail: { code: 'STATE_LOCKED', pid: 1 },
    })
  })

  it('waits for a lock to say whose it is, but not for one that never will', async () => {
    await state.release()
    const path = join(folder, 'pid')
    await writeFile(path, '')
    const opened = openStateDirectory(folder)
    for (let look = 0; look < 20; look++) await stat(folder) // long enough for it to have read nothing
    await writeFile(path, '1')
    await expect(opened).rejects.toMatchObject({ detail: { code: 'STATE_LOCKED', pid: 1 } })

    await writeFile(path, '')
    await utimes(path, 0, 0)
    state = await openStateDirectory(folder)
    expect(await readFile(path, 'utf8')).toBe(String(process.pid))
  })

  it.each([undefined, '{}', '{"releases":3}', '{"releases":-1,"unprotected":false}'])(
    'does not take what %s says of the privacy of rounds for nothing spent',
    async (said) => {
      if (said !== undefined) await writeFile(join(folder, 'privacy.json'), said)
      await expect(state.privacy(1)).rejects.toMatchObject({
        detail: { code: 'STATE_UNUSABLE', path: join(folder, 'privacy.json') },
      })
    },
  )

  it('knows that before the first round nothing was spent, and then what was written down', async () => {
    expect(await state.privacy(0)).toEqual({ releases: 0, unprotected: false })
    await state.savePrivacy({ releases: 3, unprotected: true })
    expect(await state.privacy(7)).toEqual({ releases: 3, unprotected: true })
  })

  it('says which file does not fit on the disk any more, and leaves a whole checkpoint', async () => {
    await state.saveCheckpoint(Uint8Array.of(1))
    await state.release()
    // A limit on the length of a file, which a process cannot set for itself, stands for a full disk.
    const source = (path: string) => JSON.stringify(new URL(path, import.meta.url).href)
    const script = `
      import { openStateDirectory } from ${source('../src/state/state-directory.ts')}
      process.on('SIGXFSZ', () => undefined) // or it is the end of the process
      const state = await openStateDirectory(${JSON.stringify(folder)})
      await state.saveCheckpoint(new Uint8Array(100_000)).catch(({ detail }) => console.log(JSON.stringify(detail)))
      await state.release()`
    const limited = ['-c', 'ulimit -f 8; exec "$0" "$@"', process.execPath, ...NODE_OPTIONS, '-e', script]
    const { stdout, stderr } = spawnSync('sh', limited, { encoding: 'utf8' })
    expect(stderr).toBe('')
    const path = join(folder, 'checkpoint.safetensors')
    expect(JSON.parse(stdout)).toMatchObject({ code: 'STATE_UNUSABLE', path })
    state = await openStateDirectory(folder)
    expect((await state.checkpoints()).map(({ bytes }) => [...bytes])).toEqual([[1]])
    expect((await readdir(folder)).sort()).toEqual(['checkpoint.previous.safetensors', 'pid'])
  })

  it('says which file is damaged', async () => {
    await writeFile(join(folder, 'manifest.json'), '{')
    await expect(state.manifest()).rejects.toMatchObject({
      detail: { code: 'STATE_UNUSABLE', path: join(folder, 'manifest.json') },
    })
    await writeFile(join(folder, 'key'), 'not a key')
    await expect(state.key()).rejects.toMatchObject({ detail: { code: 'STATE_UNUSABLE' } })
  })
})
