import { hashBase } from '@comigs/model/light'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { writeTinyBase } from '../../../test/support/tiny-base.ts'
import { findBase, publicName } from '../src/base-folder.ts'

const COMMIT = '0123456789abcdef0123456789abcdef01234567'

describe('a base that was downloaded from the hub', () => {
  let cache: string
  let folder: string
  beforeAll(async () => {
    cache = await mkdtemp(join(tmpdir(), 'comigs-bases-'))
    vi.stubEnv('XDG_CACHE_HOME', cache)
    folder = await writeTinyBase(join(cache, 'comigs/bases/some--model-1', COMMIT))
  })
  afterAll(async () => {
    vi.unstubAllEnvs()
    await rm(cache, { recursive: true, force: true })
  })

  it('is known to others by its name there, any other folder by none', async () => {
    expect(publicName(folder)).toBe('some/model-1')
    expect(publicName(join(cache, 'comigs/bases', `owner--${'m'.repeat(60)}`, COMMIT))).toBe('base')
    expect(publicName(join(cache, 'secret--project', COMMIT))).toBe('base')
    expect(publicName('/home/anna/secret-project')).toBe('base')
  })

  it('is found again by that name', async () => {
    const wanted = { name: 'some/model-1', ...(await hashBase(folder)) }
    expect(await findBase(wanted, undefined)).toBe(folder)
    const other = await findBase({ ...wanted, weights: '0'.repeat(64) }, undefined).catch(String)
    expect(other).toContain('give --base some/model-1, or its folder')
    expect(other).toContain(folder)
  })

  it.each(['base', 'some/other', '../some--model-1', 'some/model-1/..', 'some--model-1'])(
    'is not looked for where the name %s leads',
    async (name) => {
      const wanted = { name, ...(await hashBase(folder)) }
      const found = await findBase(wanted, undefined).catch(String)
      expect(found).toContain('is not on this machine')
      expect(found).not.toContain(cache)
    },
  )
})
