import type { ModelConfig } from './config.ts'
import type { Program } from './engine/engine.ts'
import { rows } from './evaluate.ts'
import { type RandomStream } from './random.ts'
import type { Tokenizer } from './tokenizer.ts'

export interface GenerateOptions {
  readonly maxTokens: number
  /** 0 takes the likeliest token every time. */
  readonly temperature: number
  readonly random: RandomStream
  readonly signal?: AbortSignal | undefined
}

export interface GeneratedToken {
  readonly id: number
  /** Text that became complete with this token; a character can take several. */
  readonly text: string
  /** Router scores of the position that chose it, `[layers][n]`; empty without routers. */
  readonly routerScores: readonly (readonly number[])[]
}

/**
 * Continues a prompt token by token, until the end-of-text token or `maxTokens`.
 * @param program - compiled from `nextTokenStep` with `context` tokens
 */
export async function* generate(
  program: Program,
  tokenizer: Tokenizer,
  model: ModelConfig & { readonly experts: number },
  context: number,
  prompt: string,
  options: GenerateOptions,
): AsyncGenerator<GeneratedToken> {
  const ids = [...tokenizer.encode(prompt)]
  // A model continues something: with nothing to go on, the start of a document.
  if (ids.length === 0) ids.push(tokenizer.endOfText)
  const made: number[] = []
  let shown = ''
  for (let i = 0; i < options.maxTokens && options.signal?.aborted !== true; i++) {
    const window = ids.slice(-context)
    const tokens = new Int32Array(context)
    tokens.set(window)
    const { logits, scores } = await program.run({ tokens, position: Int32Array.of(window.length - 1) })
    const id = sample(logits!, options.temperature, options.random)
    if (id === tokenizer.endOfText) return
    ids.push(id)
    made.push(id)
    const all = tokenizer.decode(made)
    // An unfinished UTF-8 sequence decodes to U+FFFD at the end: wait for the rest of it.
    const complete = all.endsWith('\ufffd') ? shown : all
    yield { id, text: complete.slice(shown.length), routerScores: rows([...(scores ?? [])], model.experts) }
    shown = complete
  }
}

/** Draws from softmax(logits / temperature). */
export function sample(logits: Float32Array, temperature: number, random: RandomStream): number {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i
  if (temperature === 0) return best
  const weights = logits.map((logit) => Math.exp((logit - logits[best]!) / temperature))
  let left = random.float() * weights.reduce((sum, weight) => sum + weight, 0)
  for (let i = 0; i < weights.length; i++) {
    left -= weights[i]!
    if (left < 0) return i
  }
  return best
}
