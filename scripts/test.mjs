// `npm test`: installs and builds what is missing, checks style and types, runs every test that needs nothing special.
// With arguments (`npm test -- packages/protocol`) only the tests that they name.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'

prepare()

const root = fileURLToPath(new URL('..', import.meta.url))
const filters = process.argv.slice(2)
const checks = [
  ['format', 'prettier/bin/prettier.cjs', ['--check', '--log-level', 'warn', '.']],
  ['lint', 'eslint/bin/eslint.js', ['.']],
  ['types of the tests', 'typescript/bin/tsc', ['-p', 'tsconfig.test.json']],
  ['types of the browser tests', 'typescript/bin/tsc', ['-p', 'test/browser']],
]
const everywhere = ['--project', 'unit', '--project', 'e2e']
const tests = ['tests', 'vitest/vitest.mjs', ['run', ...(filters.length > 0 ? filters : everywhere)]]

for (const [name, program, args] of filters.length > 0 ? [tests] : [...checks, tests]) {
  const started = Date.now()
  const { status } = spawnSync(process.execPath, [`node_modules/${program}`, ...args], {
    cwd: root,
    stdio: 'inherit',
  })
  console.error(
    `${status === 0 ? 'ok' : 'FAILED'}: ${name} (${((Date.now() - started) / 1000).toFixed(0)} s)`,
  )
  if (status !== 0) process.exit(status ?? 1)
}
