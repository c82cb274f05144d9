import type { Command } from 'commander'
import { resolveBase } from '../base-folder.ts'
import { parseHubId } from '../hub-name.ts'
import type { Exported, ExportKind } from '../take-away.ts'
import { downloadBar, print, printJson } from './output.ts'
import { needed, option, shared, wholeNumber } from './options.ts'

interface ExportFlags {
  readonly as: ExportKind
  readonly state: string
  readonly out?: string
  readonly expert: number
  readonly base?: string
  readonly json?: boolean
}

interface ImportFlags {
  readonly state: string
  readonly base?: string
  readonly json?: boolean
}

/** `comigs-peer export` and `comigs-peer import`: the personal model leaves for other tools, and comes back. */
export function addExportCommands(program: Command): void {
  program
    .command('export')
    .summary('Write the personal model down for other tools.')
    .description('Write the personal model in a state folder down for other tools (docs/EXPORT.md).')
    .addOption(
      option(
        '--as <kind>',
        'adapters for PEFT, a Hugging Face model with one expert merged in, or the whole mixture',
      )
        .choices(['peft', 'merged', 'mixture'])
        .default('peft'),
    )
    .addOption(option('--out <path>', 'a new folder; for a mixture, a new file'))
    .addOption(
      option('--expert <n>', 'the expert that is merged; 0 is the generalist')
        .argParser(wholeNumber(0))
        .default(0),
    )
    .addOption(shared.state())
    .addOption(shared.base())
    .addOption(shared.config())
    .addOption(shared.json())
    .addHelpText(
      'after',
      `
Examples:
  npx comigs-peer export --state .comigs --out my-adapters
  npx comigs-peer export --as merged --expert 1 --out my-model
  npx comigs-peer export --as mixture --out mine.safetensors`,
    )
    .action(async ({ json, base: given, ...flags }: ExportFlags) => {
      const out = needed('--out', flags.out)
      const base = await resolveBase(given, downloadBar)
      // What was resolved to another path is called so on the hub.
      const hubName = given === undefined || given === base ? null : parseHubId(given)!
      const { exportModel } = await import('../take-away.ts')
      const exported = await exportModel({ ...flags, out, base, hubName })
      if (json === true) printJson({ event: 'exported', ...exported })
      else describe(exported, flags.expert).forEach(print)
    })

  program
    .command('import')
    .summary('Make a state folder of an exported mixture.')
    .description('Make a state folder of an exported mixture, to write text from or to train on from.')
    .argument('<file>', 'what `npx comigs-peer export --as mixture` wrote')
    .addOption(shared.state())
    .addOption(shared.base())
    .addOption(shared.config())
    .addOption(shared.json())
    .addHelpText(
      'after',
      `
Example:
  npx comigs-peer import mine.safetensors --state elsewhere`,
    )
    .action(async (file: string, { state, base, json }: ImportFlags) => {
      const { importMixture } = await import('../take-away.ts')
      const imported = await importMixture({ file, state, base: await resolveBase(base, downloadBar) })
      if (json === true) printJson({ event: 'imported', ...imported })
      else
        print(
          `imported    ${imported.experts} experts of ${imported.federation}, as of round ${imported.round}, into ${imported.state}`,
        )
    })
}

function describe({ as, out, parts, experts, round }: Exported, expert: number): string[] {
  const from = `(${experts} experts, as of round ${round})`
  switch (as) {
    case 'peft':
      return [
        `exported    ${parts.length} adapters to ${out} ${from}`,
        ...parts.map((part) => `            ${part}`),
      ]
    case 'merged':
      return [`exported    the base with attention and expert ${expert} merged in to ${out} ${from}`]
    case 'mixture':
      return [`exported    the whole mixture to ${out} ${from}`]
  }
}
