import { Command } from 'commander'
import { VERSION } from '../version.ts'
import { addChatCommand } from './chat-command.ts'
import { addConfigCommand } from './config-command.ts'
import { applyConfigFile } from './config-file.ts'
import { addDataCommand } from './data-command.ts'
import { addDoctorCommand } from './doctor-command.ts'
import { addExperimentCommand } from './experiment-command.ts'
import { addExportCommands } from './export-command.ts'
import { addGenerateCommand } from './generate-command.ts'
import { HELP, HELP_FOOTER } from './help.ts'
import { addManifestCommands } from './manifest-command.ts'
import { splitLists } from './options.ts'
import { addPeerCommand } from './peer-command.ts'
import { addPretrainCommand } from './pretrain-command.ts'
import { addServeCommand } from './serve-command.ts'
import { addSwarmCommand } from './swarm-command.ts'
import { addTrustCommands } from './trust-commands.ts'

/** The command line: everything that `comigs-peer` can be told. */
export function createProgram(): Command {
  const program = new Command('comigs-peer')
    .description(
      'Train a language model together, peer to peer, and end with a personal one. Your text never leaves this machine.',
    )
    .version(VERSION)
    .configureHelp(HELP)
    .exitOverride()
    .enablePositionalOptions()
    .addHelpText('afterAll', HELP_FOOTER)
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
  program.hook('preAction', async (_, command) => {
    splitLists(command)
    await applyConfigFile(command, [program, ...program.commands])
  })
  return program
}
