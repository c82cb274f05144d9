import type { Command } from 'commander'
import pc from 'picocolors'
import type { DoctorConfig, Finding } from '../doctor.ts'
import { EXIT } from '../errors.ts'
import { createProgress, hanging, outputWidth, print, printJson, showDownload } from './output.ts'
import { addTextSources, dataSource, type TextSources } from './data-options.ts'
import { withShortHelp } from './help.ts'
import { option, shared } from './options.ts'

interface Flags extends Omit<DoctorConfig, 'data' | 'bootstrap'>, TextSources {
  readonly bootstrap?: string[]
  readonly json?: boolean
}

const ESSENTIAL = [
  '--bootstrap',
  '--psk',
  '--allow',
  '--data',
  '--train',
  '--valid',
  '--test',
  '--field',
  '--state',
  '--base',
  '--config',
  '--json',
]

const MARKS: Readonly<Record<Finding['status'], string>> = {
  ok: pc.green('ok  '),
  warn: pc.yellow('warn'),
  fail: pc.red('FAIL'),
  skipped: pc.dim('-   '),
}

/** `comigs-peer doctor`: what stands between this machine and training with others. */
export function addDoctorCommand(program: Command): void {
  const command = program
    .command('doctor')
    .summary('Check everything a peer needs; say what to change.')
    .description(
      'Check state, engine, text, base, memory and the way to a bootstrap peer; say what to change.',
    )
    .addOption(option('--bootstrap <address...>', 'peers to join through'))
    .addOption(option('--federation <hash>', 'the federation that is meant'))
    .addOption(option('--psk <file>', "a private federation's key"))
    .addOption(option('--allow <peer...>', 'ids of peers, or files of them'))
  addTextSources(command)
    .addOption(shared.state())
    .addOption(shared.base())
    .addOption(shared.baseDtype())
    .addOption(shared.experts())
    .addOption(shared.batch())
    .addOption(shared.context())
    .addOption(shared.engine())
    .addOption(shared.threads())
    .addOption(shared.config())
    .addOption(shared.json())
    .addHelpText(
      'after',
      '\nExits as a peer would at the first failure; with 0 if there are only warnings.\n\nExample:\n  npx comigs-peer doctor --data ~/notes',
    )
    .action(async (flags: Flags) => {
      let exitCode: number = EXIT.ok
      const config: DoctorConfig = {
        ...flags,
        bootstrap: flags.bootstrap ?? [],
        federation: flags.federation,
        psk: flags.psk,
        allow: flags.allow,
        base: flags.base,
        data: flags.data === undefined && flags.train === undefined ? undefined : dataSource(flags),
      }
      const progress = createProgress(flags.json !== true)
      const checking = { doing: 'checking', what: 'what a peer needs' }
      progress.show(checking)
      const { examine } = await import('../doctor.ts')
      for await (const finding of examine(config, showDownload(progress))) {
        progress.clear()
        if (exitCode === EXIT.ok) exitCode = finding.exitCode ?? EXIT.ok
        if (flags.json === true) printJson(finding)
        else for (const line of findingLines(finding, outputWidth())) print(line)
        progress.show(checking)
      }
      progress.show(undefined)
      process.exitCode = exitCode
    })
  withShortHelp(command, ESSENTIAL)
}

/** Where what was found begins. */
const INDENT = 20

export function findingLines({ check, status, found, advice }: Finding, width: number): string[] {
  const line = `${MARKS[status]}  ${check.padEnd(12)}  ${hanging(INDENT, found, width)}`
  return advice === undefined
    ? [line]
    : [line, `${' '.repeat(INDENT)}${pc.bold(hanging(INDENT, advice, width))}`]
}
