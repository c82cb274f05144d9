import { Command } from 'commander'
import { existsSync } from 'node:fs'
import { VERSION } from '../version.ts'
import { addChatCommand } from './chat-command.ts'
import { addConfigCommand } from './config-command.ts'
import { applyConfigFile } from './config-file.ts'
import { addDataCommand } from './data-command.ts'
import { addDoctorCommand } from './doctor-command.ts'
import { applyEnvironment, misspeltVariables } from './environment.ts'
import { addExperimentCommand } from './experiment-command.ts'
import { addExportCommands } from './export-command.ts'
import { addGenerateCommand } from './generate-command.ts'
import { HELP, helpFooter } from './help.ts'
import { addManifestCommands } from './manifest-command.ts'
import { warn } from './output.ts'
import { addPeerCommand } from './peer-command.ts'
import { addPretrainCommand } from './pretrain-command.ts'
import { addServeCommand } from './serve-command.ts'
import { nearest } from './suggestion.ts'
import { addSwarmCommand } from './swarm-command.ts'
import { addTrustCommands } from './trust-commands.ts'

/** The command line: everything that `comigs-peer` can be told. */
export function createProgram(): Command {
  const program = new Command('comigs-peer')
    .description('Train a personal language model, peer to peer; your text stays on this machine.')
    .version(VERSION)
    .configureHelp(HELP)
    .exitOverride()
    .enablePositionalOptions()
    .addHelpText('afterAll', helpFooter)
  addPeerCommand(program)
  addSwarmCommand(program)
  addDoctorCommand(program)
  addGenerateCommand(program)
  addChatCommand(program)
  addServeCommand(program)
  addExportCommands(program)
  addPretrainCommand(program)
  addExperimentCommand(program)
  addTrustCommands(program)
  addDataCommand(program)
  addConfigCommand(program)
  addManifestCommands(program)
  // Of a word that is no command, commander would say that a peer takes no arguments.
  program.allowExcessArguments().hook('preAction', async (_, command) => {
    if (command === program && program.args.length > 0) refuseCommand(program, program.args[0]!)
    for (const [name, meant] of misspeltVariables([...withSubcommands(program)]))
      warn(`the variable ${name} is not known; did you mean ${meant}?`)
    applyEnvironment(command)
    await applyConfigFile(command, [program, ...program.commands])
  })
  return program
}

function refuseCommand(program: Command, name: string): never {
  const meant = nearest(
    name,
    program.commands.map((command) => command.name()),
  )
  const advice = existsSync(name)
    ? `did you mean \`npx comigs-peer --data ${name}\`?`
    : meant === undefined
      ? '`npx comigs-peer --help` lists them'
      : `did you mean \`npx comigs-peer ${meant}\`?`
  return program.error(`error: unknown command '${name}'; ${advice}`)
}

function* withSubcommands(command: Command): Generator<Command> {
  yield command
  for (const one of command.commands) yield* withSubcommands(one)
}
