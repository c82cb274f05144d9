import type * as Model from '@comigs/model'
import type { DataSource, EngineName, ModelConfig } from '@comigs/model'
import type { Command } from 'commander'
import { appendFile, copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { between, needed, option, shared, wholeNumber } from './options.ts'
import { count, print, printJson } from './output.ts'
import { stopSignal } from './stop-signal.ts'
import { replaceFile } from '../replace-file.ts'

interface Flags {
  readonly data?: string
  readonly tokenizer?: string
  readonly out?: string
  readonly width: number
  readonly layers: number
  readonly heads: number
  readonly context: number
  readonly batch: number
  readonly steps: number
  readonly rate: number
  readonly warmup: number
  readonly seed: number
  readonly engine: EngineName | 'auto'
  readonly threads: number
  readonly json?: boolean
}

/** Steps between two lines of progress, and between two looks at the validation text. */
const REPORT_EVERY = 50
const VALIDATE_EVERY = 500
const WEIGHT_DECAY = 0.1

/** `comigs-peer pretrain`: makes a base model from nothing but text. */
export function addPretrainCommand(program: Command): void {
  program
    .command('pretrain')
    .summary('Train a small GPT-2 from scratch, as a base.')
    .description(
      'Train a small GPT-2 from scratch, as a base for federations. Can be stopped and goes on where it was.',
    )
    .addOption(option('--data <folder>', 'a folder with one *.train.txt.gz and one *.valid.txt'))
    .addOption(option('--tokenizer <folder>', 'where tokenizer.json is'))
    .addOption(option('--out <folder>', 'where the model goes'))
    .addOption(option('--width <n>', 'width of the residual stream').argParser(wholeNumber(8)).default(256))
    .addOption(option('--layers <n>', 'transformer blocks').argParser(wholeNumber(1)).default(4))
    .addOption(option('--heads <n>', 'attention heads').argParser(wholeNumber(1)).default(4))
    .addOption(option('--context <n>', 'tokens of a sequence').argParser(wholeNumber(8)).default(256))
    .addOption(option('--batch <n>', 'sequences in a batch').argParser(wholeNumber(1)).default(16))
    .addOption(option('--steps <n>', 'steps in all').argParser(wholeNumber(1)).default(6000))
    .addOption(option('--rate <lr>', 'peak learning rate').argParser(between(1e-9, 1)).default(1.5e-3))
    .addOption(option('--warmup <n>', 'steps of warm-up').argParser(wholeNumber(1)).default(200))
    .addOption(shared.seed().default(42))
    .addOption(shared.engine())
    .addOption(shared.threads())
    .addOption(shared.config())
    .addOption(shared.json())
    .addHelpText(
      'after',
      '\nExample:\n  npx comigs-peer pretrain --data data/base-en --out my-base \\\n    --tokenizer packages/node/models/base-en',
    )
    .action(pretrain)
}

async function pretrain(flags: Flags): Promise<void> {
  // The engine belongs to the process that computes; this command does nothing else.
  const model = await import('@comigs/model')
  const data = needed('--data', flags.data)
  const tokenizerFolder = needed('--tokenizer', flags.tokenizer)
  const out = needed('--out', flags.out)
  const stop = stopSignal()
  const tokenizer = await model.loadTokenizer(tokenizerFolder)
  const source = await splitFolder(data)
  const splits = await model.readSplits(source)
  const train = model.tokenize(splits.train, tokenizer)
  const valid = model.tokenize(splits.valid, tokenizer)
  const validBytes = splits.valid
    .flatMap(({ documents }) => documents)
    .reduce((sum, { text }) => sum + Buffer.byteLength(text), 0)
  const config: ModelConfig = {
    architecture: 'gpt2',
    vocabSize: tokenizer.size,
    positions: flags.context,
    width: flags.width,
    layers: flags.layers,
    heads: flags.heads,
    hidden: 4 * flags.width,
    epsilon: 1e-5,
  }
  const { engine, reason } = await model.selectEngine(flags)
  const pretrainer = await model.createPretrainer(engine, train, {
    model: config,
    batch: flags.batch,
    context: flags.context,
    steps: flags.steps,
    rate: flags.rate,
    warmupSteps: flags.warmup,
    weightDecay: WEIGHT_DECAY,
    seed: flags.seed,
  })
  await mkdir(out, { recursive: true })
  const stateFile = join(out, 'pretraining.safetensors')
  await resume(pretrainer, stateFile, model)

  const json = flags.json === true
  const parameters = model.baseLayout(config).size
  if (!json) {
    print(`engine ${engine.name}: ${engine.device} (${reason})`)
    print(
      `${count(parameters)} parameters, ${count(train.tokens.length)} training tokens, from step ${pretrainer.step} to ${flags.steps}`,
    )
  }
  const report = async (line: Record<string, number>) => {
    await appendFile(join(out, 'log.jsonl'), `${JSON.stringify(line)}\n`)
    if (json) printJson(line)
    else
      print(
        Object.entries(line)
          .map(([name, value]) => `${name} ${value}`)
          .join('  '),
      )
  }
  while (pretrainer.step < flags.steps && !stop.aborted) {
    const started = Date.now()
    const steps = Math.min(REPORT_EVERY, flags.steps - pretrainer.step)
    let loss = 0
    let rate = 0
    await pretrainer.run(steps, (progress) => {
      loss += progress.loss / steps
      rate = progress.learningRate
    })
    const tokensPerSecond = Math.round((steps * flags.batch * flags.context * 1000) / (Date.now() - started))
    const line = { step: pretrainer.step, loss: rounded(loss), rate: rounded(rate), tokensPerSecond }
    const pause = pretrainer.step % VALIDATE_EVERY === 0 || pretrainer.step >= flags.steps
    if (!pause && !isStopped(stop)) {
      await report(line)
      continue
    }
    const { loss: validLoss, tokens } = await pretrainer.evaluate(valid)
    const bitsPerByte = (validLoss * tokens) / Math.LN2 / validBytes
    await report({ ...line, validLoss: rounded(validLoss), bitsPerByte: rounded(bitsPerByte) })
    const { step, arrays } = await pretrainer.save()
    await replaceFile(stateFile, model.writeSafetensors(arrays, { step: String(step) }))
    const weights = model.writeSafetensors(await pretrainer.arrays(), { format: 'pt' }, 'F16')
    await replaceFile(join(out, 'model.safetensors'), weights)
  }
  await writeFile(join(out, 'config.json'), `${JSON.stringify(model.hubConfig(config), null, 2)}\n`)
  if (tokenizerFolder !== out) {
    for (const file of ['tokenizer.json', 'tokenizer_config.json']) {
      await copyFile(join(tokenizerFolder, file), join(out, file))
    }
  }
}

/** A function, since the type checker believes that a flag once read stays as it was. */
const isStopped = (signal: AbortSignal): boolean => signal.aborted

const rounded = (value: number): number => Number(value.toPrecision(5))

async function splitFolder(folder: string): Promise<DataSource> {
  const { readdir } = await import('node:fs/promises')
  const files = await readdir(folder)
  const of = (split: string) =>
    files.filter((file) => file.includes(`.${split}.txt`)).map((file) => join(folder, file))
  return { train: of('train'), valid: of('valid'), test: of('valid') }
}

async function resume(
  pretrainer: { restore(state: { step: number; arrays: never[] }): void },
  path: string,
  model: typeof Model,
): Promise<void> {
  const bytes = await readFile(path).catch(() => undefined)
  if (bytes === undefined) return
  const file = model.readSafetensors(bytes, path)
  const arrays = file.names.map((name) => file.array(name)) as never[]
  pretrainer.restore({ step: Number(file.metadata['step']), arrays })
}
