import type * as Model from '@comigs/model'
import type { DataSource, EngineName, ModelConfig, Pretrainer } from '@comigs/model'
import { reasonOf } from '@comigs/model/light'
import type { Command } from 'commander'
import { appendFile, copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { NodeError } from '../errors.ts'
import { between, needed, option, shared, wholeNumber } from './options.ts'
import {
  count,
  createProgress,
  hanging,
  lineWithin,
  outputWidth,
  print,
  printJson,
  printNote,
  showTokenising,
} from './output.ts'
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
/** Steps before the first line, which says how fast it goes. */
const FIRST_REPORT = 5
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
  const json = flags.json === true
  const progress = createProgress(!json)
  const tokenizer = await model.loadTokenizer(tokenizerFolder)
  const source = await splitFolder(data, model)
  const splits = await model.readSplits(source)
  const total = (groups: typeof splits.train, sizeOf: (text: string) => number) =>
    groups.flatMap(({ documents }) => documents).reduce((sum, { text }) => sum + sizeOf(text), 0)
  const tell = showTokenising(
    progress,
    total([...splits.train, ...splits.valid], (text) => text.length),
  )
  const train = model.tokenize(splits.train, tokenizer, tell)
  const valid = model.tokenize(splits.valid, tokenizer, tell)
  progress.show({ doing: 'compiling', what: 'the model' })
  model.requireSequence('train', train.tokens.length, flags.context)
  model.requireSequence('valid', valid.tokens.length, flags.context)
  const validBytes = total(splits.valid, (text) => Buffer.byteLength(text))
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
  // Until here nothing is lost with the process.
  const stop = stopSignal(() => {
    progress.show(undefined)
    printNote('stopping: waits for this step, and saves it')
  })

  progress.clear()
  if (!json) {
    print(`engine      ${hanging(12, `${engine.name}: ${engine.device} (${reason})`)}`)
    print(`model       ${count(model.baseLayout(config).size)} parameters`)
    print(`text        ${count(train.tokens.length)} tokens to learn from`)
    print(`steps       from ${pretrainer.step} to ${flags.steps}`)
  }
  const report = async (line: PretrainLine) => {
    await appendFile(join(out, 'log.jsonl'), `${JSON.stringify(line)}\n`)
    progress.clear()
    if (json) printJson(line)
    else print(pretrainLine(line, outputWidth()))
  }
  const save = async () => {
    const { step, arrays } = await pretrainer.save()
    await replaceFile(
      stateFile,
      model.writeSafetensors(arrays, { step: String(step), heads: String(flags.heads) }),
    )
    const weights = model.writeSafetensors(await pretrainer.arrays(), { format: 'pt' }, 'F16')
    await replaceFile(join(out, 'model.safetensors'), weights)
  }
  /** Undefined when stopped. */
  const validate = async () => {
    try {
      stop.throwIfAborted()
      const { loss, tokens } = await pretrainer.evaluate(valid, (share) => {
        stop.throwIfAborted()
        progress.show({ doing: 'validating', what: 'of the validation text', share })
      })
      const bitsPerByte = (loss * tokens) / Math.LN2 / validBytes
      return { validLoss: rounded(loss), bitsPerByte: rounded(bitsPerByte) }
    } catch (error) {
      if (error !== stop.reason) throw error
      return undefined
    }
  }
  const firstReport = pretrainer.step + FIRST_REPORT
  const isDue = () => pretrainer.step === firstReport || pretrainer.step % REPORT_EVERY === 0
  const isOver = () => stop.aborted || pretrainer.step >= flags.steps
  while (!isOver()) {
    const [from, started] = [pretrainer.step, Date.now()]
    let losses = 0
    let rate = 0
    do {
      await pretrainer.run(1, ({ step, loss, learningRate }) => {
        losses += loss
        rate = learningRate
        progress.show({ doing: 'training', what: `of ${flags.steps} steps`, share: step / flags.steps })
      })
    } while (!isDue() && !isOver())
    const { step } = pretrainer
    const steps = step - from
    const tokensPerSecond = Math.round((steps * flags.batch * flags.context * 1000) / (Date.now() - started))
    const pause = isOver() || step % VALIDATE_EVERY === 0
    await report({
      step,
      loss: rounded(losses / steps),
      rate: rounded(rate),
      tokensPerSecond,
      ...(pause && (await validate())),
    })
    if (pause) await save()
  }
  progress.show(undefined)
  await writeFile(join(out, 'config.json'), `${JSON.stringify(model.hubConfig(config), null, 2)}\n`)
  if (tokenizerFolder !== out) {
    for (const file of ['tokenizer.json', 'tokenizer_config.json']) {
      await copyFile(join(tokenizerFolder, file), join(out, file))
    }
  }
  if (pretrainer.step < flags.steps)
    process.stderr.write(`stopped at step ${pretrainer.step}; the same command goes on from here\n`)
}

const rounded = (value: number): number => Number(value.toPrecision(5))

/** As in the log. */
interface PretrainLine {
  readonly step: number
  readonly loss: number
  readonly rate: number
  readonly tokensPerSecond: number
  readonly validLoss?: number
  readonly bitsPerByte?: number
}

/** In a narrow terminal without the parts at the end: the log has them. */
export function pretrainLine(line: PretrainLine, width: number): string {
  return lineWithin(width, [
    `step ${String(line.step).padStart(6)}`,
    `loss ${line.loss.toFixed(3)}`,
    `${count(line.tokensPerSecond)} tok/s`,
    line.validLoss === undefined ? '' : `valid loss ${line.validLoss.toFixed(3)}`,
    line.bitsPerByte === undefined ? '' : `${line.bitsPerByte.toFixed(3)} bits a byte`,
    `rate ${line.rate}`,
  ])
}

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
