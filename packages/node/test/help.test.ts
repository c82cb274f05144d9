import type { Command } from 'commander'
import { expect, it } from 'vitest'
import { createProgram } from '../src/cli/program.ts'

const COLUMNS = 80
/** The command without a name lists the others, too. */
const linesOf = (command: Command) => (command.parent === null ? 44 : 40)

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
    expect(lines.length).toBeLessThanOrEqual(linesOf(command))
    expect(lines.filter((line) => line.length > COLUMNS)).toEqual([])
    const examples = lines.slice(lines.findIndex((line) => /^Examples?:$/.test(line)) + 1)
    expect(examples[0]).toContain(`npx ${name}`)
  },
)

it('--help-all shows what --help leaves out', () => {
  expect(said(createProgram(), '--help')).not.toContain('--evaluate-batches')
  expect(said(createProgram(), '--help-all')).toContain('--evaluate-batches')
})
