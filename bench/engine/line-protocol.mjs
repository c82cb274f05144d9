// A competitor is a process that is kept alive: it answers each line on stdin with one line of JSON on stdout.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** The child's side. `answer(words)` returns what to print. */
export async function serve(answer) {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(line.split(' ')))}\n`)
  }
}

/**
 * The parent's side.
 * @param env - added to the environment
 * @returns `ask(line)`: the answer, or an Error with the last lines that the child wrote to stderr
 */
export function startCompetitor(name, command, args, env = {}) {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  let complaints = ''
  child.stderr.on('data', (data) => (complaints = (complaints + data).slice(-2000)))
  const ended = new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message))
    child.on('close', (code, signal) => resolve(`ended with ${signal ?? code}: ${reasonIn(complaints)}`))
  })
  child.stdin.on('error', () => {}) // `ended` tells the reason
  return {
    name,
    pid: child.pid,
    async ask(line) {
      child.stdin.write(`${line}\n`)
      const { value, done } = await answers.next()
      if (done) throw new Error(`${name} ${await ended}`)
      return JSON.parse(value)
    },
    async stop() {
      child.stdin.end()
      await ended
    },
  }
}

/** What an uncaught error looks like in JavaScript and in Python; else the last thing that was said. */
function reasonIn(text) {
  const lines = text.trim().split('\n')
  return (lines.findLast((line) => /^\w*Error\b/.test(line)) ?? lines.at(-1)).trim()
}

/** Arguments of Node that start a competitor of this folder. */
export function nodeArguments(file, work, threads, ...more) {
  const path = fileURLToPath(new URL(file, import.meta.url))
  return [path, '--work', JSON.stringify(work), '--threads', String(threads), ...more]
}
