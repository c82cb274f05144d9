import type * as Model from '@comigs/model'
import type { Command } from 'commander'
import pc from 'picocolors'
import { DEFAULT_BASE, resolveBase } from '../base-folder.ts'
import { addTextSources, dataSource, type TextSources } from './data-options.ts'
import { shared } from './options.ts'
import {
  count,
  createProgress,
  downloadBar,
  hanging,
  print,
  printJson,
  type Progress,
  showTokenising,
} from './output.ts'

interface Flags extends TextSources {
  readonly base?: string
  readonly context: number
  readonly json?: boolean
}

/** Characters of the text that are shown. */
const SAMPLE = 200
/** More files than anyone reads; `--json` has all. */
const SHOWN_FILES = 12

/** `comigs-peer data`: what a peer would learn from, without training. */
export function addDataCommand(program: Command): void {
  const command = program
    .command('data')
    .summary('Show what would be trained on.')
    .description('Show what would be trained on: files, formats, tokens of each split, and what is left out.')
  addTextSources(command)
  command
    .addOption(shared.base())
    .addOption(shared.context())
    .addOption(shared.config())
    .addOption(shared.json())
    .addHelpText('after', '\nExample:\n  npx comigs-peer data --data ~/notes')
    .action(data)
}

async function data(flags: Flags): Promise<void> {
  // No engine computes here, so there is nothing that a thread of its own would be for.
  const model = await import('@comigs/model')
  const base = (await resolveBase(flags.base, downloadBar)) ?? DEFAULT_BASE
  const tokenizer = await model.loadTokenizer(base)
  const text = await model.readText(dataSource(flags))
  const report = survey(model, text, tokenizer, createProgress(flags.json !== true))
  if (flags.json === true) printJson(report)
  else for (const line of describe(report)) print(line)
  for (const split of model.SPLITS) model.requireSequence(split, report.splits[split].tokens, flags.context)
}

type Survey = ReturnType<typeof survey>

function survey(
  model: typeof Model,
  { splits, files, skipped }: Model.TextOfUser,
  tokenizer: Model.Tokenizer,
  progress: Progress,
) {
  const characters = (documents: readonly { readonly text: string }[]) =>
    documents.reduce((sum, { text }) => sum + text.length, 0)
  const all = model.SPLITS.flatMap((split) => splits[split].flatMap(({ documents }) => documents))
  const total = characters(all)
  const tell = showTokenising(progress, total)
  const of = (split: Model.SplitName) => {
    const documents = splits[split].flatMap((group) => group.documents)
    const { tokens } = model.tokenize(splits[split], tokenizer, tell)
    const size = characters(documents)
    return { documents: documents.length, characters: size, share: size / total, tokens: tokens.length }
  }
  const report = { train: of('train'), valid: of('valid'), test: of('test') }
  progress.show(undefined)
  const sample = Array.from(splits.train[0]?.documents[0]?.text ?? '')
    .slice(0, SAMPLE)
    .join('')
  return { files, skipped, splits: report, sample }
}

/** What is said of a file or a split, after its kind. */
const told = (text: string): string => hanging(8, text)

function* describe({ files, skipped, splits, sample }: Survey): Generator<string> {
  for (const { path, format, documents, characters } of files.slice(0, SHOWN_FILES)) {
    const pieces = documents === 1 ? '' : `${count(documents)} documents, `
    yield `${format.padEnd(7)} ${told(`${path}: ${pieces}${count(characters)} characters`)}`
  }
  yield* more(files.length)
  for (const { path, reason } of skipped.slice(0, SHOWN_FILES))
    yield pc.yellow(`skipped ${told(`${path}: ${reason}`)}`)
  yield* more(skipped.length)
  const names = { train: 'to learn from', valid: 'to validate', test: 'to test' } as const
  for (const [split, { documents, characters, share, tokens }] of Object.entries(splits)) {
    const percent = `${Math.round(100 * share)} %`.padStart(4)
    const size = `${count(tokens)} tokens, ${count(characters)} characters, ${count(documents)} documents`
    yield `${split.padEnd(7)} ${told(`${percent} ${names[split as keyof typeof names]}: ${size}`)}`
  }
  yield `sample  ${told(JSON.stringify(sample))}`
}

function* more(length: number): Generator<string> {
  if (length > SHOWN_FILES) yield pc.dim(`        and ${count(length - SHOWN_FILES)} more (--json lists all)`)
}
