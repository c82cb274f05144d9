import type * as Model from '@comigs/model'
import type { DataSource, EngineName, ModelConfig, Pretrainer } from '@comigs/model'
import { reasonOf } from '@comigs/model/light'
import type { Command } from 'commander'
import { appendFile, copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { NodeError } from '../errors.ts'
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
    .addOption(option('--data <folder>', 'a folder with *.train.txt and *.valid.txt, or .gz of these'))
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
  requireHeads(flags)
  const stop = stopSignal()
  const tokenizer = await model.loadTokenizer(tokenizerFolder)
  const source = await splitFolder(data, model)
  const splits = await model.readSplits(source)
  const train = model.tokenize(splits.train, tokenizer)
  const valid = model.tokenize(splits.valid, tokenizer)
  model.requireSequence('train', train.tokens.length, flags.context)
  model.requireSequence('valid', valid.tokens.length, flags.context)
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
  await resume(pretrainer, stateFile, { model, heads: flags.heads })

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
    await replaceFile(
      stateFile,
      model.writeSafetensors(arrays, { step: String(step), heads: String(flags.heads) }),
    )
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

/** @throws NodeError `OPTION_INVALID` */
function requireHeads({ heads, width }: Flags): void {
  if (width % heads === 0) return
  const reason = `does not divide the width, ${width}`
  throw new NodeError({ code: 'OPTION_INVALID', option: '--heads', value: String(heads), reason })
}

/** @throws ModelError `DATA_MISSING` */
async function splitFolder(folder: string, model: typeof Model): Promise<DataSource> {
  const missing = (reason: string, cause?: unknown) =>
    new model.ModelError({ code: 'DATA_MISSING', path: folder, reason }, { cause })
  const files = await readdir(folder).catch((error: unknown) => {
    throw missing(reasonOf(error), error)
  })
  const of = (split: string) => {
    const found = files.filter((file) => file.includes(`.${split}.txt`)).map((file) => join(folder, file))
    if (found.length === 0) throw missing(`the folder holds no *.${split}.txt, nor .gz of it`)
    return found
  }
  return { train: of('train'), valid: of('valid'), test: of('valid') }
}

/**
 * What was saved; undefined when nothing was.
 * @throws NodeError `STATE_UNUSABLE` when it cannot be read: it would be written over
 */
async function readSaved(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new NodeError({ code: 'STATE_UNUSABLE', path, reason: reasonOf(error) }, { cause: error })
  }
}

/** @throws ModelError `CHECKPOINT_INVALID` when what was saved is not this model's */
async function resume(
  pretrainer: Pretrainer,
  path: string,
  { model, heads }: { readonly model: typeof Model; readonly heads: number },
): Promise<void> {
  const bytes = await readSaved(path)
  if (bytes === undefined) return
  const invalid = (reason: string) => new model.ModelError({ code: 'CHECKPOINT_INVALID', path, reason })
  const file = model.readSafetensors(bytes, path)
  const step = Number(file.metadata['step'])
  if (!Number.isInteger(step)) throw invalid('it does not say at which step it was saved')
  // No array shows how many there are; what was saved by earlier versions does not say it.
  const savedHeads = Number(file.metadata['heads'] ?? heads)
  if (savedHeads !== heads) throw invalid(`it is of a model of another shape: it has ${savedHeads} heads`)
  pretrainer.restore({ step, arrays: file.names.map((name) => file.array(name)) }, path)
}
