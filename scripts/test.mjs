// `npm test`: installs and builds what is missing, checks style and types, runs every test that needs nothing special.
// With arguments (`npm test -- packages/protocol`) only the tests that they name.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'

prepare()

const root = fileURLToPath(new URL('..', import.meta.url))
const filters = process.argv.slice(2)
const tsc = 'typescript/bin/tsc'
// Side by side on two cores: the second list takes about as long as the first.
const checks = [
  [['lint', 'eslint/bin/eslint.js', ['.']]],
  [
    ['format', 'prettier/bin/prettier.cjs', ['--check', '--log-level', 'warn', '.']],
    ['types of the tests', tsc, ['-p', 'tsconfig.test.json']],
    ['types of the browser tests', tsc, ['-p', 'test/browser']],
  ],
]
const everywhere = ['unit', 'cli', 'e2e'].flatMap((project) => ['--project', project])

function run([name, program, args]) {
  const started = Date.now()
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [`node_modules/${program}`, ...args], {
      cwd: root,
      stdio: 'inherit',
    })
    child.once('close', (status) => {
      const seconds = ((Date.now() - started) / 1000).toFixed(0)
      console.error(`${status === 0 ? 'ok' : 'FAILED'}: ${name} (${seconds} s)`)
      if (status !== 0) process.exitCode = status ?? 1
      resolve(status === 0)
    })
  })
}

async function inTurn(list) {
  for (const one of list) if (!(await run(one))) return
}

if (filters.length === 0) await Promise.all(checks.map(inTurn))
if (!process.exitCode)
  await run(['tests', 'vitest/vitest.mjs', ['run', ...(filters.length > 0 ? filters : everywhere)]])
