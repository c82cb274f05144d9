import type { GeneratedToken } from '@comigs/model'
import PQueue from 'p-queue'
import { NodeError } from '../errors.ts'
import type { GenerateRequest } from '../training/training-host.ts'
import type { Training } from '../training/training-worker.ts'
import { pulled, writeText } from './stream-text.ts'

export interface TextServiceInit {
  readonly training: Training
  /** Tokens that the model can see at once. */
  readonly positions: number
  readonly limits?: TextLimits
  /** How a request ended, and how many tokens it was given. */
  onEnd(outcome: TextOutcome, tokens: number): void
}

export type TextOutcome = 'done' | 'cancelled' | 'timeout' | 'full' | 'failed'

export interface TextLimits {
  /** Texts written side by side, token by token in turn. */
  readonly active: number
  /** Requests that wait for a place, in the order in which they came. */
  readonly waiting: number
  /** From a request to its last token. */
  readonly timeoutMs: number
}

export const TEXT_LIMITS: TextLimits = {
  // Each holds a cache (75 MB at GPT-2's shape); more of them make nobody's text faster.
  active: 4,
  waiting: 64,
  timeoutMs: 120_000,
}

/** Text from the model for many who ask at once. */
export interface TextService {
  readonly positions: number
  countTokens(text: string): Promise<number>
  /**
   * The tokens of a text as they are made. Leaving the loop or aborting ends the work.
   * @throws NodeError `TEXT_QUEUE_FULL`, `TEXT_TIMEOUT`
   */
  write(request: GenerateRequest, signal: AbortSignal): AsyncIterable<GeneratedToken>
}

export function createTextService(init: TextServiceInit): TextService {
  const { training, positions, limits = TEXT_LIMITS, onEnd } = init
  const queue = new PQueue({ concurrency: limits.active })
  return {
    positions,
    countTokens: (text) => training.countTokens(text),
    write(request, signal) {
      return pulled<GeneratedToken>(async (take, left) => {
        const late = AbortSignal.timeout(limits.timeoutMs)
        const ended = AbortSignal.any([left, late])
        const progress = { tokens: 0, finished: false }
        const onToken = (token: GeneratedToken) => {
          if (ended.aborted) return // nobody listens any more
          progress.tokens++
          progress.finished = token.finish !== undefined
          take(token)
        }
        try {
          if (queue.size >= limits.waiting)
            throw new NodeError({ code: 'TEXT_QUEUE_FULL', waiting: queue.size })
          // Whoever waits and is aborted is rejected at once; whoever writes stops at the next token.
          await queue
            .add(() => writeText(training, request, onToken, ended), { signal: ended })
            .catch((error: unknown) => {
              if (!ended.aborted) throw error
            })
          if (late.aborted && !progress.finished && !left.aborted)
            throw new NodeError({
              code: 'TEXT_TIMEOUT',
              seconds: limits.timeoutMs / 1000,
              tokens: progress.tokens,
            })
          onEnd(progress.finished ? 'done' : 'cancelled', progress.tokens)
        } catch (error) {
          onEnd(outcomeOf(error), progress.tokens)
          throw error
        }
      }, signal)
    },
  }
}

function outcomeOf(error: unknown): TextOutcome {
  if (!(error instanceof NodeError)) return 'failed'
  if (error.detail.code === 'TEXT_QUEUE_FULL') return 'full'
  return error.detail.code === 'TEXT_TIMEOUT' ? 'timeout' : 'failed'
}
