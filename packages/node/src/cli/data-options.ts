import type { DataSource } from '@comigs/model'
import type { Command } from 'commander'
import { NodeError } from '../errors.ts'
import { option } from './options.ts'

export interface TextSources {
  readonly data?: readonly string[]
  readonly train?: readonly string[]
  readonly valid?: readonly string[]
  readonly test?: readonly string[]
  readonly field?: string
}

export function addTextSources(command: Command): Command {
  return command
    .addOption(
      option(
        '--data <path...>',
        'your text: files and folders of .txt, .md, .html, .pdf, .jsonl, .csv, or .gz of these',
      ),
    )
    .addOption(option('--train <path...>', 'or three sets of your own: to learn from,'))
    .addOption(option('--valid <path...>', '  to choose between experts by,'))
    .addOption(option('--test <path...>', '  to be judged on'))
    .addOption(option('--field <name>', 'where the text of a .jsonl line or .csv row is').default('text'))
}

/** @throws NodeError `OPTION_MISSING` when it is neither one set nor three */
export function dataSource({ data, train, valid, test, field }: TextSources): DataSource {
  if (train !== undefined && valid !== undefined && test !== undefined && data === undefined)
    return { train, valid, test, field }
  if (data !== undefined && train === undefined && valid === undefined && test === undefined)
    return { data, field }
  const hint = 'your text; or --train, --valid and --test, all three, instead'
  throw new NodeError({ code: 'OPTION_MISSING', option: '--data', hint })
}
