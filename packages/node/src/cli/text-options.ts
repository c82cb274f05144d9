import type { BaseDtype } from '@comigs/model'
import { InvalidArgumentError } from 'commander'
import { between, option, shared, wholeNumber } from './options.ts'

/** Flags of every command that writes text with a personal model. */
export interface TextFlags {
  readonly state: string
  readonly base?: string
  readonly baseDtype: BaseDtype
  readonly baseAlone: boolean
  readonly maxTokens: number
  readonly temperature: number
  readonly topK?: number
  readonly topP?: number
  readonly stop?: string[]
  readonly seed?: number
  readonly showExperts: boolean
  readonly engine: 'auto'
  readonly threads: number
}

export const textOptions = () => [
  shared.state(),
  option('--max-tokens <n>', 'how much to write at most').argParser(wholeNumber(1)).default(100),
  option('--temperature <t>', '0: always the likeliest').argParser(between(0, 10)).default(0.8),
  option('--top-k <n>', 'draw from so many of the likeliest tokens (default: all)').argParser(wholeNumber(1)),
  option(
    '--top-p <p>',
    'draw from the likeliest that have this share of the probability (default: 1)',
  ).argParser(between(0.001, 1)),
  option('--stop <text...>', 'stop before any of these').argParser(several),
  option('--show-experts', 'show which expert the router trusted most with each token').default(false),
  option('--base-alone', 'without experts, for comparison').default(false),
  shared.seed('what is drawn: the same seed, the same text'),
  shared.base(),
  shared.baseDtype(),
  shared.engine(),
  shared.threads(),
]

/** Not split at spaces, which stop sequences may well contain. */
function several(text: string, previous: readonly string[] | undefined): string[] {
  if (text === '') throw new InvalidArgumentError('expected some text')
  return [...(previous ?? []), text]
}

export const newSeed = (): number => Math.floor(Math.random() * 0x1_0000_0000)
