import type { Command } from 'commander'
import pc from 'picocolors'
import { createInterface } from 'node:readline/promises'
import { resolveBase } from '../base-folder.ts'
import { type ChatMessage, chatPrompt, withoutLeadingSpace } from '../text/chat-template.ts'
import { loadPersonalModel } from '../text/personal-model.ts'
import { writeText } from '../text/stream-text.ts'
import { type Training, withTrainingWorker } from '../training/training-worker.ts'
import { option, shared } from './options.ts'
import { downloadBar } from './output.ts'
import { createTextDisplay } from './show-text.ts'
import { newSeed, type TextFlags, textOptions } from './text-options.ts'

interface Flags extends TextFlags {
  readonly system?: string
}

const NOTE =
  'The base is not tuned for conversation: it continues a transcript, and remembers what its context holds.\n' +
  'An empty line or ctrl-D ends; ctrl-C stops an answer.'

/** `comigs-peer chat`: turn by turn with the personal model in a state folder. */
export function addChatCommand(program: Command): void {
  const command = program
    .command('chat')
    .summary('Talk with the personal model.')
    .description('Talk with the personal model in a state folder.')
    .addOption(option('--system <text>', 'what stands above the conversation'))
  for (const one of textOptions()) command.addOption(one)
  command
    .addOption(shared.config())
    .addHelpText('after', '\nExample:\n  npx comigs-peer chat --state .comigs --max-tokens 60')
    .action((flags: Flags) => withTrainingWorker((training) => chat(training, flags)))
}

async function chat(training: Training, flags: Flags): Promise<void> {
  await loadPersonalModel(training, { ...flags, base: await resolveBase(flags.base, downloadBar) })
  const write = (text: string) => void process.stdout.write(text)
  const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: pc.bold('you> ') })
  let answering: AbortController | undefined
  lines.on('SIGINT', () => {
    if (answering === undefined) lines.close()
    else answering.abort()
  })
  const messages: ChatMessage[] = []
  if (flags.system !== undefined) messages.push({ role: 'system', content: flags.system })
  const seed = flags.seed ?? newSeed()

  write(`${pc.dim(NOTE)}\n`)
  lines.prompt()
  for await (const line of lines) {
    if (line.trim() === '') break
    messages.push({ role: 'user', content: line })
    const { prompt, stop } = chatPrompt(messages)
    const display = createTextDisplay(write, flags.showExperts)
    const trim = withoutLeadingSpace()
    let answer = ''
    write(pc.bold('model> '))
    answering = new AbortController()
    await writeText(
      training,
      {
        ...flags,
        model: flags.baseAlone ? 'base' : 'personal',
        prompt,
        stop: [...stop, ...(flags.stop ?? [])],
        // Another turn, other numbers; the same conversation with the same seed, the same answers.
        seed: seed + messages.length,
      },
      (token) => {
        const text = trim(token.text)
        answer += text
        display.show({ ...token, text })
      },
      answering.signal,
    )
    answering = undefined
    messages.push({ role: 'assistant', content: answer })
    write('\n')
    display.end()
    lines.prompt()
  }
  lines.close()
  write('\n')
}
