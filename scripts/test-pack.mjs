// `npm run test:pack`: packs the packages as they would be published, installs them in an empty project with an empty npm
// cache, and runs two peers from there. Needs an npm registry; exits with 77 and one line where none answers.
// Packages run on the Node that runs this: PATH=<folder of another node>:$PATH npm run test:pack
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const PACKAGES = ['model', 'protocol', 'node']
/** What a peer cannot do without and no import would miss. */
const NEEDED = {
  node: [
    'models/base-en/model.safetensors',
    'models/base-en/tokenizer.json',
    'page/index.html',
    'dist/page/main.js',
  ],
}
const PATIENCE_MS = 240_000

// Of npm's own variables only where the registry is: the repository's settings do not reach those who install from it.
const REGISTRY = /^npm_config_(registry|cafile|https?_proxy|proxy|noproxy|userconfig)$/i
const env = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => (!/^npm_/i.test(name) || REGISTRY.test(name)) && !/^(COMIGS_|ONNXRUNTIME_)/.test(name),
  ),
)
env.PATH = `${dirname(process.execPath)}:${process.env.PATH}`

prepare()
if (spawnSync('npm', ['ping'], { stdio: 'ignore', timeout: 30_000, env }).status !== 0) {
  console.error('SKIP test:pack: no npm registry answers (npm ping)')
  process.exit(77)
}

const folder = mkdtempSync(join(tmpdir(), 'comigs-pack-'))
const project = join(folder, 'project')
const run = (program, args) =>
  execFileSync(program, args, {
    cwd: project,
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 2],
    maxBuffer: 64 << 20, // `npm query` says everything about each of hundreds of packages
  })
const running = new Set()

try {
  mkdirSync(project)
  env.npm_config_cache = join(folder, 'cache')
  const archives = PACKAGES.map(pack)

  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'empty', private: true }))
  const started = Date.now()
  run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', ...archives])
  const seconds = (Date.now() - started) / 1000
  const count = JSON.parse(run('npm', ['query', '*'])).length
  report(
    `installed with an empty cache in ${seconds.toFixed(0)} s: ${count} packages, ${megabytes(sizeOf(project))} on disk`,
  )

  const help = run('npx', ['comigs-peer', '--help'])
  check(help.includes('Usage: comigs-peer'), 'npx comigs-peer --help says how it is used')
  await twoPeers()
  report(`passed on Node ${process.versions.node}, npm ${run('npm', ['--version']).trim()}`)
} catch (error) {
  console.error(`FAILED: ${error.message}`)
  process.exitCode = 1
} finally {
  for (const child of running) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
}

/** @returns the archive's path */
function pack(name) {
  const cwd = join(root, 'packages', name)
  // .npmrc switches scripts off for whatever is installed; our own prepack is to run.
  const flags = ['--ignore-scripts=false', '--json', '--loglevel=error', '--pack-destination', folder]
  const output = execFileSync('npm', ['pack', ...flags], {
    cwd,
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 2],
  })
  // prepack may print before it; npm 12 has an object where npm 11 has a list.
  const [packed] = Object.values(JSON.parse(output.slice(output.search(/^[[{]/m))))
  const paths = packed.files.map(({ path }) => path)
  report(
    `${packed.filename}: ${megabytes(packed.size)}, unpacked ${megabytes(packed.unpackedSize)}, ${paths.length} files`,
  )
  const { exports = {}, bin = {} } = JSON.parse(readFileSync(join(cwd, 'package.json'), 'utf8'))
  const entries = [exports, bin].flatMap(Object.values).flatMap((target) => {
    if (typeof target === 'string') return [target]
    return Object.keys(target).flatMap((key) => (key === '@comigs/source' ? [] : [target[key]]))
  })
  const needed = ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', ...entries, ...(NEEDED[name] ?? [])]
  const missing = needed.filter((path) => !paths.includes(path.replace(/^\.\//, '')))
  check(missing.length === 0, `${name} has its entries, licences and files: ${missing.join(', ')}`)
  const stray = paths.filter((path) => /^(src|test)\/|\.map$|tsbuildinfo|\.ts$(?<!\.d\.ts)/.test(path))
  check(stray.length === 0, `${name} has no sources, tests or maps: ${stray.join(', ')}`)
  return join(folder, packed.filename)
}

/** One starts a federation, one joins it; both have to mix, learn, and show their page. */
async function twoPeers() {
  const first = peer('first', 'fr', [])
  const { addresses, http } = await first.waitFor('listening')
  const { engine, device } = await first.waitFor('engine')
  check(engine === 'onnx', `the native engine is there: ${device}`)
  const second = peer('second', 'it', ['--bootstrap', addresses[0]])
  const page = await (await fetch(http)).text()
  check(page.includes('page/main.js') && (await fetch(`${http}/page/main.js`)).ok, 'a peer serves its page')
  for (const one of [first, second]) {
    await one.waitFor('round', ({ mixedWith }) => mixedWith === 1)
    const { test, baseTest } = await one.waitFor('result')
    check(
      test.perplexity < baseTest.perplexity,
      `${one.name}: test perplexity ${test.perplexity.toFixed(0)}, the base's ${baseTest.perplexity.toFixed(0)}`,
    )
    check((await one.ended) === 0, `${one.name} ended in an orderly way`)
  }
}

function peer(name, language, args) {
  const text = join(project, name)
  mkdirSync(text)
  copyFileSync(join(root, `data/multilingual-cc0/${language}.train.txt.gz`), join(text, 'text.txt.gz'))
  const options = [
    '--json',
    '--data',
    text,
    '--state',
    `${name}-state`,
    '--rounds',
    '8',
    '--wait-for-peers',
    '1',
    '--batch',
    '2',
  ]
  const listen = ['--listen', '/ip4/127.0.0.1/tcp/0', '--crowded']
  const child = spawn('npx', ['comigs-peer', ...options, ...listen, ...args], {
    cwd: project,
    env,
    stdio: ['ignore', 'pipe', 2],
  })
  running.add(child)
  const events = []
  const waiting = new Set()
  const wake = () => waiting.forEach((resolve) => resolve())
  createInterface({ input: child.stdout }).on('line', (line) => {
    events.push(JSON.parse(line))
    wake()
  })
  let code
  const ended = new Promise((resolve) => {
    child.on('close', (status) => {
      running.delete(child)
      code = status
      resolve(status)
      wake()
    })
  })
  return {
    name,
    ended,
    async waitFor(kind, fits = () => true) {
      const deadline = Date.now() + PATIENCE_MS
      for (;;) {
        const found = events.find((event) => event.event === kind && fits(event))
        if (found !== undefined) return found
        if (code !== undefined || Date.now() > deadline)
          throw new Error(
            `${name}: no such "${kind}" event (${code === undefined ? 'too slow' : `ended with ${code}`})`,
          )
        await new Promise((resolve) => {
          waiting.add(resolve)
          setTimeout(resolve, 1000)
        })
      }
    },
  }
}

function check(holds, what) {
  if (!holds) throw new Error(`not so: ${what}`)
  report(`ok: ${what.replace(/: $/, '')}`)
}

function report(line) {
  console.error(line)
}

function sizeOf(path) {
  const stats = lstatSync(path)
  return stats.isDirectory()
    ? readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0)
    : stats.size
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
