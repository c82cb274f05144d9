import type { GeneratedToken } from '@comigs/model'
import type { Command } from 'commander'
import { resolveBase } from '../base-folder.ts'
import { loadPersonalModel } from '../text/personal-model.ts'
import { writeText } from '../text/stream-text.ts'
import { type Training, withTrainingWorker } from '../training/training-worker.ts'
import { option, shared } from './options.ts'
import { downloadBar, printJson } from './output.ts'
import { createTextDisplay } from './show-text.ts'
import { stopSignal } from './stop-signal.ts'
import { newSeed, type TextFlags, textOptions } from './text-options.ts'

interface Flags extends TextFlags {
  readonly prompt: string
  readonly json?: boolean
}

/** `comigs-peer generate`: text from the personal model in a state folder. */
export function addGenerateCommand(program: Command): void {
  const command = program
    .command('generate')
    .summary('Let the personal model continue a text.')
    .description('Let the personal model in a state folder continue a text.')
    .addOption(option('--prompt <text>', 'what to continue').default('', 'nothing'))
  for (const one of textOptions()) command.addOption(one)
  command
    .addOption(shared.config())
    .addOption(shared.json())
    .addHelpText(
      'after',
      '\nExample:\n  npx comigs-peer generate --state .comigs --prompt "Il était une fois"',
    )
    .action((flags: Flags) => withTrainingWorker((training) => generate(training, flags)))
}

async function generate(training: Training, flags: Flags): Promise<void> {
  await loadPersonalModel(training, { ...flags, base: await resolveBase(flags.base, downloadBar) })
  const json = flags.json === true
  const display = createTextDisplay((text) => process.stdout.write(text), flags.showExperts)
  const { prompt, seed = newSeed(), baseAlone } = flags
  const tokens: GeneratedToken[] = []
  const onToken = (token: GeneratedToken) => {
    tokens.push(token)
    if (!json) display.show(token)
  }
  if (!json) process.stdout.write(prompt)
  await writeText(training, { ...flags, model: baseAlone ? 'base' : 'personal', seed }, onToken, stopSignal())
  if (!json) {
    process.stdout.write('\n')
    display.end()
    return
  }
  printJson({
    prompt,
    text: tokens.map(({ text }) => text).join(''),
    seed,
    finish: tokens.at(-1)?.finish,
    ...(flags.showExperts ? { tokens: tokens.map(({ text, routing }) => ({ text, ...routing })) } : {}),
  })
}
