// `npm run test:browser`: the page in a real browser against live peers. Needs Chromium (or Chrome); exits with 77 and one
// line where there is none. CHROMIUM names the program when it is not in the usual places.
import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'

const chromium = findChromium()
if (chromium === undefined) {
  console.error(
    'SKIP test:browser: no Chromium (apt-get install chromium fonts-liberation, or name one in CHROMIUM)',
  )
  process.exit(77)
}
prepare()

const root = fileURLToPath(new URL('..', import.meta.url))
const config = ['--config', 'test/browser/vitest.config.ts']
const { status } = spawnSync(
  process.execPath,
  ['node_modules/vitest/vitest.mjs', 'run', ...config, ...process.argv.slice(2)],
  { cwd: root, stdio: 'inherit', env: { ...process.env, CHROMIUM: chromium } },
)
process.exit(status ?? 1)

function findChromium() {
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']
  const folders = (process.env.PATH ?? '').split(delimiter)
  const usual = folders.flatMap((folder) => names.map((name) => join(folder, name)))
  const mac = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'
  return (process.env.CHROMIUM ? [process.env.CHROMIUM] : [...usual, mac]).find(isProgram)
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
