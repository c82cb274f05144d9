import { writeSafetensors } from '@comigs/model'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DEFAULT_BASE } from '../src/base-folder.ts'
import { createProgram } from '../src/cli/program.ts'

/** Nothing here gets as far as to train. */
describe('pretrain refuses', () => {
  let folder: string
  const at = (name: string) => join(folder, name)

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'comigs-pretrain-'))
    await mkdir(at('data'))
    for (const split of ['train', 'valid'])
      await writeFile(at(`data/a.${split}.txt`), 'Once upon a time there was a king. '.repeat(5))
  })
  afterEach(() => rm(folder, { recursive: true }))

  /** A model of next to nothing, but for what `args` change. */
  const pretrain = (...args: string[]) => {
    const shape = ['--width', '8', '--layers', '1', '--heads', '2', '--context', '8', '--steps', '1']
    const paths = ['--data', at('data'), '--tokenizer', DEFAULT_BASE, '--out', at('out')]
    const run = createProgram().parseAsync(['pretrain', ...shape, ...paths, ...args], { from: 'user' })
    return run.catch((error: unknown) => (error as { detail: unknown }).detail)
  }

  it('a folder that is not there', async () => {
    expect(await pretrain('--data', at('nowhere'))).toMatchObject({
      code: 'DATA_MISSING',
      path: at('nowhere'),
      reason: expect.stringContaining('no such file') as string,
    })
  })

  it.each(['train', 'valid'])('a folder without *.%s.txt', async (split) => {
    await rm(at(`data/a.${split}.txt`))
    expect(await pretrain()).toMatchObject({
      code: 'DATA_MISSING',
      path: at('data'),
      reason: expect.stringContaining(`*.${split}.txt`) as string,
    })
  })

  it.each(['train', 'valid'])('a text for %s that is shorter than a sequence', async (split) => {
    await writeFile(at(`data/a.${split}.txt`), 'Once')
    expect(await pretrain()).toMatchObject({ code: 'DATA_TOO_SHORT', split, neededTokens: 9 })
  })

  it('heads that do not divide the width', async () => {
    expect(await pretrain('--heads', '3')).toMatchObject({ code: 'OPTION_INVALID', option: '--heads' })
  })

  describe('what was saved, and leaves it,', () => {
    const saved = () => at('out/pretraining.safetensors')

    it('when it cannot be read', async () => {
      await mkdir(saved(), { recursive: true })
      expect(await pretrain()).toMatchObject({ code: 'STATE_UNUSABLE', path: saved() })
    })

    it.each([
      [{}, 'at which step'],
      [{ step: '3', heads: '4' }, '4 heads'],
      [{ step: '3', heads: '2' }, 'it lacks "base/wte.weight"'],
    ])('when it is of another model: %o', async (metadata: Record<string, string>, reason) => {
      await mkdir(at('out'))
      await writeFile(saved(), writeSafetensors([], metadata))
      expect(await pretrain()).toMatchObject({
        code: 'CHECKPOINT_INVALID',
        path: saved(),
        reason: expect.stringContaining(reason) as string,
      })
      expect(await readdir(at('out'))).toEqual(['pretraining.safetensors'])
    })
  })
})
