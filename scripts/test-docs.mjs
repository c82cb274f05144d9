// `npm run test:docs`: does the documentation still tell the truth? In all of it:
// - links and anchors between documents lead somewhere, and files named in `code` exist;
// - commands in code blocks name npm scripts, subcommands and options that there are.
// Blocks marked `console` are run, in order, in a folder of the document's own that looks like a clone, with a home that
// has some text in ~/notes and ~/mail. Their output has to have the shape that is shown: numbers, ids and addresses may be
// others, a line `…` stands for any lines, `…` within a line for any text. An address or id that was shown is put into later
// commands as it really was. A command that ends with `…` is left running, as in a terminal of its own; one that ends with
// `^C` is interrupted; any other has to end with 0. Before a block, `<!-- not run: why -->` keeps it from being run, and
// `<!-- first: command -->` says what has been done already, or is waited for.
// Blocks marked `python` are run likewise, each by an interpreter of its own; a comment `# -> text` in one is what it prints
// there.
//
// `-- --all` (hours; name documents for less) also runs what is otherwise only looked at: blocks marked `sh`, and `code` in
// prose that is a command of ours without a placeholder. Each has to end with 0; with 77 it has said what it lacks. Blocks
// under `<!-- needs: docker -->` (NEEDS has the others) run then too, where there is what they need; those that need Python
// modules run in any case where these are. `--at-most 5` stops a command after five minutes. Whatever did not run to its end
// is told, and counted apart.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs, stripVTControlCharacters } from 'node:util'
import { prepare } from './prepare.mjs'
import { watchersOf } from './watchers.mjs'

prepare()
const { default: GithubSlugger } = await import('github-slugger')
const { fromMarkdown } = await import('mdast-util-from-markdown')
const { toString } = await import('mdast-util-to-string')

const root = fileURLToPath(new URL('..', import.meta.url))
const main = join(root, 'packages/node/dist/cli/main.js')
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
/** Longer than any command of a tutorial takes on a busy machine. */
const PATIENCE_MS = 300_000
/** For a command that is stopped to put away what it has open. */
const GRACE_MS = 30_000
/** What is shown of a command that failed. */
const LAST_LINES = 12
const FOLDERS = ['docs', 'bench', 'packages/node', 'packages/model', 'packages/protocol', 'data', 'test']
const PROGRAMS = /^(?:npm|npx|comigs-peer)\s/
/** `code` in prose that is a command to run; `comigs-peer x` in prose is a name. */
const RUNNABLE = /^(?:npm (?:start|test|run)\b|npx comigs-peer )/
/** Whose output is compared. */
const COMPARED = ['console', 'python']
const PLACEHOLDER = /[<[…]|\.\.\./
/** Exit code of a command that lacks something and has said what. */
const LACKING = 77
/** What a block may need, and whether this machine has it. */
const NEEDS = [
  [/^docker(?: with prometheus)?$/, () => works('docker', 'info') && works('docker', 'compose', 'version')],
  [/^a Kubernetes cluster$/, () => works('kubectl', 'cluster-info', '--request-timeout=10s')],
  [/^python with ([\w, ]+)$/, (modules) => works(python, '-c', `import ${modules}`)],
  [/^([A-Z_]+)$/, (variable) => process.env[variable] !== undefined],
]
/** What may differ, and what of it is put into later commands. */
const VOLATILE = [
  [/^round +\d+/, (shown) => shown, false], // the one that is meant
  [/^\/(?:ip4|dns4)\/[\w.]+\/tcp\/\d+(?:\/p2p\/\w+…?)?/, '(/ip4/[\\d.]+/tcp/\\d+(?:/p2p/\\w+)?)', true],
  [/^https?:\/\/[\d.]+:\d+/, '(http://[\\d.]+:\\d+)', true],
  [/^12D3Koo\w+…?/, '(12D3Koo\\w+)', true],
  [/^[0-9a-f]{16,}/, '([0-9a-f]{16,})', true],
  [/^[\d.,]+ k?M?B\b/, '[\\d.,]+ k?M?B', false],
  [/^\d[\d.,]*/, '[\\d.,]+', false],
  [/^─+/, '─+', false],
  [/^…/, '.*', false],
  [/^\s+/, '\\s+', false],
]

const { values: flags, positionals: filters } = parseArgs({
  allowPositionals: true,
  options: { all: { type: 'boolean', default: false }, 'at-most': { type: 'string', default: '1440' } },
})
const atMostMs = Number(flags['at-most']) * 60_000
/** Stands in documents as ~/venv/bin/python. */
const python = process.env.COMIGS_PYTHON ?? 'python3'
const helps = new Map()

let failures = 0
let finished = 0
const notRun = []
const notFinished = []
const seenCommands = new Set()
const living = new Set()
for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, () => {
    for (const child of living) process.kill(-child.pid, 'SIGINT')
    process.exit(130)
  })
const documents = [
  ...markdownIn('.', false),
  ...FOLDERS.flatMap((folder) => markdownIn(folder, true)),
].filter((path) => filters.length === 0 || filters.some((filter) => path.includes(filter)))

const blocks = documents.flatMap(blocksOf)
for (const path of documents) {
  attempt(path, () => checkLinks(path))
  attempt(path, () => checkNamedFiles(path))
}
say(`ok: looked at the links of ${documents.length} documents`)
let checked = 0
for (const block of blocks) {
  for (const command of commandsIn(block)) {
    attempt(`${block.path}:${block.line}`, () => checkCommand(command, block.lang))
    checked++
  }
}
say(`ok: ${checked} commands name what there is`)
for (const path of documents) {
  const runnable = blocks.filter(
    (block) => block.path === path && (flags.all || COMPARED.includes(block.lang)),
  )
  if (runnable.length > 0) await runDocument(path, runnable)
}
for (const line of notRun) say(`NOT RUN: ${line}`)
for (const line of notFinished)
  say(`NOT FINISHED: ${line} (ran ${flags['at-most']} minutes without an error)`)
say(`${finished} ran, ${notFinished.length} not finished, ${notRun.length} not run, ${failures} failed`)
if (failures > 0) process.exitCode = 1

function say(line) {
  console.error(line)
}

function fail(where, message) {
  failures++
  say(`FAILED: ${where}: ${message}`)
}

function attempt(where, check) {
  try {
    check()
  } catch (error) {
    fail(where, error.message)
  }
}

function markdownIn(folder, deep) {
  return readdirSync(join(root, folder), { recursive: deep })
    .filter((name) => name.endsWith('.md') && !name.includes('node_modules'))
    .map((name) => relative(root, join(root, folder, name)))
    .sort()
}

/** Links within the repository: the file has to be there, and the heading in it. What leads elsewhere is not visited. */
function checkLinks(path) {
  for (const { url } of nodesOf(path).filter(({ type }) => ['link', 'image', 'definition'].includes(type))) {
    if (/^[a-z]+:/i.test(url)) continue
    const [file, anchor] = url.split('#')
    const target = file === '' ? path : join(dirname(path), decodeURI(file))
    if (!existsSync(join(root, target))) throw new Error(`a link leads to ${url}, and there is no ${target}`)
    if (anchor !== undefined && !anchorsOf(target).includes(anchor))
      throw new Error(`a link leads to ${url}, and ${target} has no such heading`)
  }
}

function anchorsOf(path) {
  const slugger = new GithubSlugger()
  return nodesOf(path)
    .filter(({ type }) => type === 'heading')
    .map((heading) => slugger.slug(toString(heading)))
}

/** All nodes of a document's tree, each with the one before it. */
function nodesOf(path) {
  const nodes = []
  const visit = (node, previous) => {
    nodes.push(Object.assign(node, { previous }))
    node.children?.forEach((child, index) => visit(child, node.children[index - 1]))
  }
  visit(fromMarkdown(readFileSync(join(root, path), 'utf8')))
  return nodes
}

/** Paths in `code`, of the repository or of a package; what has a pattern or a placeholder in it is let be. */
function checkNamedFiles(path) {
  const named = readFileSync(join(root, path), 'utf8').matchAll(
    /`((?:packages|docs|scripts|test|bench|docker|data)\/[\w./-]+)`/g,
  )
  const places = ['', 'packages/model', 'packages/protocol', 'packages/node']
  for (const [, file] of named)
    if (!places.some((place) => existsSync(join(root, place, file)))) throw new Error(`there is no ${file}`)
}

/** Blocks of code, and `code` in prose that is a command of ours. */
function blocksOf(path) {
  return nodesOf(path)
    .filter(({ type, value }) => type === 'code' || (type === 'inlineCode' && PROGRAMS.test(value)))
    .map(({ type, position, lang, value, previous }) => {
      const kind = type === 'code' ? lang : 'prose'
      return { path, line: position.start.line, lang: kind, text: value, ...marksOf(previous) }
    })
}

/** What the comment before a block says of it: one mark, or `needs: …` and then `first: …`. */
function marksOf(previous) {
  const [, text] = /^<!-- ((?:not run|first|needs): [^]+) -->$/.exec(previous?.value ?? '') ?? []
  return Object.fromEntries(
    (text?.split(/\n(?=first: )/) ?? []).map((mark) => mark.split(/: ([^]*)/).slice(0, 2)),
  )
}

/** Commands of ours: lines of a shell, or those after `$` of `console`. */
function commandsIn({ lang, text }) {
  if (![null, 'sh', 'bash', 'console', 'prose'].includes(lang)) return []
  const lines = text.replace(/\\\n\s*/g, ' ').split('\n')
  return lines
    .map((line) => line.trim())
    .flatMap((line) => (lang === 'console' ? (line.startsWith('$ ') ? [line.slice(2)] : []) : [line]))
    .filter((line) => PROGRAMS.test(line))
}

/** What is to be run of a block whose output is not shown: lines, joined as far as bash needs to understand them. */
function shellCommandsOf(block) {
  if (block.lang === 'prose' || block.lang === null)
    return commandsIn(block).filter((line) => RUNNABLE.test(line) && !PLACEHOLDER.test(line))
  if (block.lang !== 'sh') return []
  const commands = []
  let open = ''
  for (const line of block.text.replace(/\\\n\s*/g, ' ').split('\n')) {
    open += `${line}\n`
    if (!works('bash', '-n', '-c', open)) continue
    if (open.trim() !== '') commands.push(open.trim())
    open = ''
  }
  if (open !== '') throw new Error(`bash cannot read ${open}`)
  return commands
}

function works(command, ...args) {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}

/** Why a block is not run, if it is not. */
function hindranceOf(block) {
  if (block['not run'] !== undefined) return block['not run']
  if (block.needs === undefined) return undefined
  const found = NEEDS.map(([pattern, has]) => [pattern.exec(block.needs), has]).find(
    ([match]) => match !== null,
  )
  if (found === undefined) throw new Error(`nobody knows how to look for ${block.needs}`)
  if (!flags.all && !block.needs.startsWith('python')) return `needs ${block.needs}: see --all`
  const [match, has] = found
  return has(match[1]) ? undefined : `needs ${block.needs}, which is not here`
}

function helpOf(subcommand) {
  if (!helps.has(subcommand)) {
    const command = subcommand === undefined ? [] : [subcommand]
    const said = ['--help-all', '--help']
      .map((flag) => spawnSync(process.execPath, [main, ...command, flag], { encoding: 'utf8' }))
      .find(({ status }) => status === 0)
    if (said === undefined) throw new Error(`comigs-peer has no subcommand ${subcommand}`)
    helps.set(subcommand, said.stdout)
  }
  return helps.get(subcommand)
}

function checkCommand(command, lang) {
  // Without comments and what is quoted.
  const words = command
    .replace(/"[^"]*"|'[^']*'/g, 'quoted')
    .replace(/\s+#.*|\s{2,}.*|[)>|;&].*/, '')
    .split(/\s+/)
  if (words[0] === 'npm') {
    const [, verb, ...rest] = words.filter((word) => word !== '--silent')
    const script = verb === 'run' ? rest[0] : verb
    if (['start', 'test', 'run'].includes(verb) && scripts[script] === undefined)
      throw new Error(`there is no npm script ${script}: ${command}`)
    return
  }
  if (words[0] !== 'npx' && lang !== 'prose')
    throw new Error(`no shell finds comigs-peer in a clone, npx does: ${command}`)
  const [subcommand, ...args] = words.slice(words[0] === 'npx' ? 2 : 1)
  const isPeer = subcommand === undefined || subcommand.startsWith('-')
  const help = helpOf(isPeer ? undefined : subcommand)
  for (const flag of [subcommand ?? '', ...args].filter((word) => /^--[a-z]/.test(word)))
    if (!new RegExp(`${flag}\\b`).test(help)) throw new Error(`there is no ${flag}: ${command}`)
}

async function runDocument(path, runnable) {
  const started = Date.now()
  const ranBefore = finished
  const session = openSession()
  try {
    for (const block of runnable) {
      const where = `${path}:${block.line}`
      const steps = COMPARED.includes(block.lang) ? stepsOf(block) : shellCommandsOf(block)
      const hindrance = hindranceOf(block) ?? session.hindranceOf(block)
      if (hindrance !== undefined) {
        notRun.push(...steps.map((step) => `${where}: ${step.name ?? step} (${hindrance})`))
        continue
      }
      if (block.first !== undefined) await session.run({ command: block.first, expected: [] })
      for (const step of steps) {
        if (!COMPARED.includes(block.lang)) {
          await runShellCommand(session, where, step)
          continue
        }
        await session.run(step)
        finished++
      }
    }
    await session.end()
    const ran = finished - ranBefore
    say(`ok: ${path}: ${ran} commands ran (${Math.round((Date.now() - started) / 1000)} s)`)
  } catch (error) {
    fail(path, error.message)
  } finally {
    session.clean()
  }
}

/** Its end counts, not what it prints. One that fails does not keep those after it from being run. */
async function runShellCommand(session, where, command) {
  const bare = command.replace(/\s+#.*$/gm, '')
  // Our own depend on nothing that came before, and many documents name them.
  if (bare.startsWith('npm ') && seenCommands.has(bare)) return
  seenCommands.add(bare)
  if (bare.startsWith('npm run test:docs')) {
    notRun.push(`${where}: ${bare} (it is what runs)`)
    return
  }
  const started = Date.now()
  say(`runs: ${where}: ${bare}`)
  const { code, lines } = await session.finish(bare)
  const seconds = Math.round((Date.now() - started) / 1000)
  if (code === LACKING) notRun.push(`${where}: ${bare} (${lines.at(-1)})`)
  else if (code === undefined) notFinished.push(`${where}: ${bare}`)
  else if (code === 0) {
    finished++
    say(`ok: ${where}: ${seconds} s`)
  } else
    fail(
      where,
      `${bare}\n  ended with ${code} after ${seconds} s\n  ${lines.slice(-LAST_LINES).join('\n  ')}`,
    )
}

/** Commands of a block, with the output that is shown after each. */
function stepsOf({ lang, text }) {
  if (lang === 'python') return [pythonStep(text)]
  const steps = []
  for (const line of text.replace(/\\\n\s*/g, ' ').split('\n')) {
    if (line.startsWith('$ ')) steps.push({ name: line.slice(2), command: line.slice(2), expected: [] })
    else if (line.trim() !== '') steps.at(-1).expected.push(line)
  }
  return steps
}

/** Without what npm puts there for a script: who pastes a command has no `comigs-peer` on it. */
function pathOfAnyone() {
  return process.env.PATH.split(':').filter((folder) => !folder.includes('node_modules'))
}

/** What Python's libraries print besides is passed over. */
function pythonStep(text) {
  const printed = [...text.matchAll(/# -> (.+)/g)].flatMap(([, line]) => ['…', line])
  return { name: text.split('\n')[0], command: `python - <<'PYTHON'\n${text}\nPYTHON`, expected: printed }
}

/** A folder like a clone that has been built, and the terminals that stand open in it. */
function openSession() {
  const folder = mkdtempSync(join(tmpdir(), 'comigs-docs-'))
  const clone = join(folder, 'clone')
  const home = join(folder, 'home')
  const left = ['node_modules', '.git', '.comigs', '.cache']
  const copy = (path) =>
    cpSync(join(root, path), join(clone, path), {
      recursive: true,
      preserveTimestamps: true,
      verbatimSymlinks: true,
      filter: (source) => !left.includes(relative(root, source)),
    })
  copy('')
  // Half a gigabyte that nobody changes is not copied; but what in it leads to our packages leads to the copy's.
  mkdirSync(join(clone, 'node_modules'))
  for (const name of readdirSync(join(root, 'node_modules')))
    if (['.bin', '@comigs'].includes(name)) copy(`node_modules/${name}`)
    else symlinkSync(join(root, 'node_modules', name), join(clone, 'node_modules', name))
  for (const [name, language] of [
    ['notes', 'fr'],
    ['mail', 'it'],
  ]) {
    mkdirSync(join(home, name), { recursive: true })
    copyFileSync(
      join(root, `data/multilingual-cc0/${language}.train.txt.gz`),
      join(home, name, 'text.txt.gz'),
    )
    copyFileSync(join(root, `data/multilingual-cc0/${language}.valid.txt`), join(home, name, 'more.txt'))
  }
  const { stdout: prefix } = spawnSync(python, ['-c', 'import sys; print(sys.prefix)'], { encoding: 'utf8' })
  if (prefix) symlinkSync(prefix.trim(), join(home, 'venv'))
  const env = {
    ...process.env,
    HOME: home,
    NO_COLOR: '1',
    COLUMNS: '200',
    npm_config_update_notifier: 'false',
    PATH: [join(home, 'venv/bin'), ...pathOfAnyone()].join(':'),
    COMPOSE_PROJECT_NAME: `comigs-docs-${process.pid}`,
    COMIGS_SEED_PORT: '0',
    COMIGS_PROMETHEUS_PORT: '0',
    COMIGS_GRAFANA_PORT: '0',
  }
  // Tests do not listen to the world, and are in a hurry.
  const briskly = { ...env, COMIGS_PEER_LISTEN: '/ip4/127.0.0.1/tcp/0', COMIGS_PEER_BATCH: '2' }
  const seen = new Map()
  const open = []
  let watchers

  const start = (command, env = briskly) => {
    let really = command
      .replaceAll('/ip4/0.0.0.0/tcp/4001', '/ip4/127.0.0.1/tcp/0')
      .replaceAll('--http 8000', '--http 0')
    for (const [shown, actual] of [...seen].sort(([a], [b]) => b.length - a.length))
      really = really.replaceAll(shown, actual)
    const child = spawn('bash', ['-c', really], {
      cwd: clone,
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const terminal = { command: really, lines: [], code: undefined, wake: () => undefined, child }
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', (line) => {
        if (line.trim() !== '') terminal.lines.push(stripVTControlCharacters(line))
        terminal.wake()
      })
    living.add(child)
    terminal.closed = once(child, 'close').then(([code, signal]) => {
      living.delete(child)
      terminal.code = code ?? signal
      terminal.wake()
    })
    return terminal
  }

  /** Waits until something holds; the reason to give up otherwise. */
  const until = async (terminal, holds, what) => {
    const deadline = Date.now() + PATIENCE_MS
    while (!holds()) {
      if (Date.now() > deadline || terminal.code !== undefined) {
        const why = terminal.code === undefined ? 'not in time' : `it ended with ${terminal.code}`
        throw new Error(
          `${terminal.command}\n  ${what} (${why}); the last lines were\n  ${terminal.lines.slice(-LAST_LINES).join('\n  ')}`,
        )
      }
      await new Promise((resolve) => {
        terminal.wake = resolve
        setTimeout(resolve, 500)
      })
    }
  }

  const interrupt = async (terminal, signal) => {
    process.kill(-terminal.child.pid, signal)
    const ended = terminal.code
    if (ended === undefined)
      await until(terminal, () => terminal.code !== undefined, `it does not end on ${signal}`)
  }

  const bringWatchers = () => {
    execFileSync('docker', ['compose', 'build', 'seed'], { cwd: clone, env, stdio: ['ignore', 2, 2] })
    const brought = watchersOf(clone, env.COMPOSE_PROJECT_NAME)
    if (brought.override !== undefined) {
      // Not in the clone, whose own tests may run.
      const file = join(folder, 'override.yml')
      writeFileSync(file, brought.override)
      for (const each of [env, briskly]) each.COMPOSE_FILE = `docker-compose.yml:${file}`
    }
    return brought
  }

  return {
    async run({ command, expected }) {
      const terminal = start(command)
      open.push(terminal)
      let at = 0
      let anyLines = false
      for (const line of expected) {
        if (line === '^C') {
          await interrupt(terminal, 'SIGINT')
          return
        }
        if (line === '…') {
          anyLines = true
          continue
        }
        const shape = shapeOf(line)
        let match
        const look = () => {
          for (; at < terminal.lines.length; at++) {
            match = shape.regexp.exec(terminal.lines[at].trimEnd())
            if (match !== null) return true
            if (!anyLines)
              throw new Error(`${terminal.command}\n  expected: ${line}\n  came:     ${terminal.lines[at]}`)
          }
          return false
        }
        await until(terminal, look, `expected: ${line}`)
        shape.tokens.forEach((token, index) => seen.set(token, match[index + 1]))
        at++
        anyLines = false
      }
      if (anyLines) return
      await until(terminal, () => terminal.code !== undefined, 'it should have ended')
      if (terminal.code !== 0)
        throw new Error(
          `${terminal.command}\n  ended with ${terminal.code}\n  ${terminal.lines.slice(-LAST_LINES).join('\n  ')}`,
        )
      if (expected.length > 0 && at < terminal.lines.length)
        throw new Error(`${terminal.command}\n  not shown: ${terminal.lines[at]}`)
    },

    /** A command whose output is not compared: how it ended, without a code where its time was up. */
    async finish(command) {
      const terminal = start(command, env)
      await Promise.race([terminal.closed, sleep(atMostMs, undefined, { ref: false })])
      const { code, lines } = terminal
      if (code === undefined) {
        process.kill(-terminal.child.pid, 'SIGINT')
        await Promise.race([terminal.closed, sleep(GRACE_MS)])
        if (terminal.code === undefined) process.kill(-terminal.child.pid, 'SIGKILL')
      }
      return { code, lines }
    },

    /** Before the first block for Docker: of what watches the swarm, whose images cannot be had is replaced, or does not come up. */
    hindranceOf({ needs }) {
      if (!needs?.startsWith('docker')) return undefined
      watchers ??= bringWatchers()
      const lacks = needs.endsWith('prometheus') && !watchers.found.includes('prometheus')
      return lacks ? 'needs Prometheus, which is not here' : undefined
    },

    /** Peers that still run have to end in an orderly way. */
    async end() {
      for (const terminal of open) {
        if (terminal.code === undefined) await interrupt(terminal, 'SIGINT')
        // npx itself dies of the signal that its peer ends on.
        if (![0, 'SIGINT', 130].includes(terminal.code))
          throw new Error(`${terminal.command}\n  ended with ${terminal.code}`)
      }
    },

    clean() {
      if (watchers !== undefined) {
        spawnSync('docker', ['compose', 'down', '--volumes'], { cwd: clone, env, stdio: 'ignore' })
        if (watchers.image !== undefined) spawnSync('docker', ['rmi', '-f', watchers.image])
      }
      for (const { code, child } of open) if (code === undefined) process.kill(-child.pid, 'SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function shapeOf(line) {
  const tokens = []
  let pattern = ''
  let rest = line.trimEnd()
  while (rest !== '') {
    const found = VOLATILE.map(([shown, real, kept]) => [shown.exec(rest)?.[0], real, kept]).find(
      ([text]) => text !== undefined,
    )
    const [text, real, kept] = found ?? [rest[0], rest[0].replace(/[\\^$.*+?()[\]{}|]/, '\\$&'), false]
    pattern += typeof real === 'function' ? real(text) : real
    if (kept) tokens.push(text)
    rest = rest.slice(text.length)
  }
  return { regexp: new RegExp(`^${pattern}$`), tokens }
}
