import type { Command } from 'commander'
import { expect, it } from 'vitest'
import { createProgram } from '../src/cli/program.ts'

const COLUMNS = 80
const LINES = 40

function* commandsOf(command: Command, above = ''): Generator<{ name: string; command: Command }> {
  const name = `${above}${command.name()}`
  yield { name, command }
  for (const one of command.commands) yield* commandsOf(one, `${name} `)
}

/** What a command prints, and how it ends. */
function said(command: Command, flag: string) {
  let text = ''
  command.configureOutput({
    writeOut: (part) => (text += part),
    getOutHelpWidth: () => COLUMNS,
    getOutHasColors: () => false,
  })
  expect(() => command.exitOverride().parse([flag], { from: 'user' })).toThrow(
    expect.objectContaining({ exitCode: 0 }),
  )
  return text
}

it.each([...commandsOf(createProgram())])(
  'the help of $name fits a screen and has an example',
  ({ name, command }) => {
    const lines = said(command, '--help').trimEnd().split('\n')
    expect(lines.length).toBeLessThanOrEqual(LINES)
    expect(lines.filter((line) => line.length > COLUMNS)).toEqual([])
    const examples = lines.slice(lines.findIndex((line) => /^Examples?:$/.test(line)) + 1)
    expect(examples[0]).toContain(`npx ${name}`)
  },
)

it('--help-all shows what --help leaves out', () => {
  expect(said(createProgram(), '--help')).not.toContain('--evaluate-batches')
  expect(said(createProgram(), '--help-all')).toContain('--evaluate-batches')
})

it('promises a --config file only where there is one', () => {
  const promise = /in a\s--config\sfile/
  for (const { command } of commandsOf(createProgram())) {
    const takesFile = command.options.some(({ long }) => long === '--config')
    expect(promise.test(said(command, '--help'))).toBe(takesFile)
  }
})

it('explains the environment by an option that it shows', () => {
  for (const { command } of commandsOf(createProgram())) {
    const help = said(command, '--help')
    const examples = [...help.matchAll(/\((--[a-z-]+):\sCOMIGS_PEER_\w+\)/g)].map(([, long]) => long!)
    expect(examples).toHaveLength(command.options.some(({ envVar }) => envVar !== undefined) ? 1 : 0)
    for (const long of examples) expect(help).toMatch(new RegExp(`^  ${long} `, 'm'))
  }
})

it.each([
  ['doctr', "unknown command 'doctr'; did you mean `npx comigs-peer doctor`?"],
  ['something-else', "unknown command 'something-else'; `npx comigs-peer --help` lists them"],
  [import.meta.dirname, `did you mean \`npx comigs-peer --data ${import.meta.dirname}\`?`],
])('of a word that is no command, says so: %s', async (word, message) => {
  const program = createProgram().configureOutput({ writeErr: () => undefined })
  await expect(program.parseAsync([word, '--stay'], { from: 'user' })).rejects.toThrow(message)
})
