import type { BaseDtype } from '@comigs/model'
import type { Command } from 'commander'
import * as Comlink from 'comlink'
import { findBase, resolveBase } from '../base-folder.ts'
import { NodeError } from '../errors.ts'
import { openStateDirectory } from '../state/state-directory.ts'
import { startTrainingWorker, type Training } from '../training/training-worker.ts'
import { option, shared, wholeNumber } from './options.ts'
import { downloadBar, printJson } from './output.ts'

interface Flags {
  readonly state: string
  readonly base?: string
  readonly baseDtype: BaseDtype
  readonly prompt: string
  readonly maxTokens: number
  readonly temperature: number
  readonly seed?: number
  readonly engine: 'auto'
  readonly threads: number
  readonly json?: boolean
}

/** `comigs-peer generate`: text from the personal model in a state folder. */
export function addGenerateCommand(program: Command): void {
  program
    .command('generate')
    .description('Let the personal model in a state folder continue a text.')
    .addOption(shared.state())
    .addOption(option('--prompt <text>', 'what to continue').default(''))
    .addOption(option('--max-tokens <n>', 'how much to write').argParser(wholeNumber(1)).default(100))
    .addOption(option('--temperature <t>', '0: always the likeliest').argParser(Number).default(0.8))
    .addOption(shared.seed())
    .addOption(shared.base())
    .addOption(shared.baseDtype())
    .addOption(shared.engine())
    .addOption(shared.threads())
    .addOption(shared.json())
    .addHelpText('after', '\nExample:\n  comigs-peer generate --state .comigs --prompt "Il était une fois"')
    .action(async (flags: Flags) => {
      const { training, stop } = startTrainingWorker()
      try {
        await loadPersonalModel(training, flags)
        let text = ''
        const onText = (piece: string) => {
          text += piece
          if (flags.json !== true) process.stdout.write(piece)
        }
        if (flags.json !== true) process.stdout.write(flags.prompt)
        const seed = flags.seed ?? Math.floor(Math.random() * 0x1_0000_0000)
        const { prompt, maxTokens, temperature } = flags
        await training.generate({ prompt, maxTokens, temperature, seed }, Comlink.proxy(onText))
        if (flags.json === true) printJson({ prompt, text, seed })
        else process.stdout.write('\n')
      } finally {
        await stop()
      }
    })
}

/** Base, experts and routers as the peer in that folder last wrote them down. */
async function loadPersonalModel(training: Training, flags: Flags): Promise<void> {
  const state = await openStateDirectory(flags.state)
  try {
    const manifest = await state.manifest()
    const [checkpoint] = await state.checkpoints()
    if (manifest === undefined || checkpoint === undefined) {
      const reason = 'no peer has trained here yet'
      throw new NodeError({ code: 'STATE_UNUSABLE', path: flags.state, reason })
    }
    const base = await findBase(manifest.base, await resolveBase(flags.base, downloadBar))
    const { engine, threads, baseDtype } = flags
    await training.load({ engine, threads, base, baseDtype })
    const made = await training.inspect(checkpoint.bytes, checkpoint.path)
    await training.prepare({
      mixture: { experts: Number(made['experts']), ...manifest.lora, routing: 'router' },
      batch: 1,
      context: 8,
      schedule: { kind: 'constant', rate: 0, warmupSteps: 1 },
      sharedSeed: manifest.seed,
      seed: 0,
    })
    await training.restore(checkpoint.bytes, checkpoint.path)
  } finally {
    await state.release()
  }
}
