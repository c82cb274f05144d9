#!/usr/bin/env node
import '../polyfill.ts'
import { Command } from 'commander'
import pc from 'picocolors'
import { exitCodeOf, EXIT, isCoded } from '../errors.ts'
import { VERSION } from '../version.ts'
import { addGenerateCommand } from './generate-command.ts'
import { addPeerCommand } from './peer-command.ts'
import { addPretrainCommand } from './pretrain-command.ts'
import { addSwarmCommand } from './swarm-command.ts'

const program = new Command('comigs-peer')
  .description(
    'Train a language model together, peer to peer, and end with a personal one. Your text never leaves this machine.',
  )
  .version(VERSION)
  .configureHelp({ showGlobalOptions: true })
  .exitOverride()
  .enablePositionalOptions()
addPeerCommand(program)
addSwarmCommand(program)
addGenerateCommand(program)
addPretrainCommand(program)

try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = report(error)
}
process.exit()

/** @returns the exit code */
function report(error: unknown): number {
  if (isCommanderError(error)) return error.exitCode === 0 ? EXIT.ok : EXIT.usage // commander has said it already
  const code = isCoded(error) ? ` [${error.detail.code}]` : ''
  process.stderr.write(
    `${pc.red('error')}${code}: ${error instanceof Error ? error.message : String(error)}\n`,
  )
  if (!isCoded(error) && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
  return exitCodeOf(error)
}

function isCommanderError(error: unknown): error is Error & { exitCode: number } {
  return error instanceof Error && 'exitCode' in error
}
