import { spawnSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { REPOSITORY } from '../support/tiny-base.ts'

it('docs/reference and docs/METRICS.md are what the code says', () => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/reference.mjs', '--check'], {
    cwd: REPOSITORY,
    encoding: 'utf8',
  })
  expect(stderr).toBe('')
  expect(status).toBe(0)
})
