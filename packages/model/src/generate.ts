import type { Decoder } from './decoder.ts'
import { createDetokenizer, createStopFilter } from './generated-text.ts'
import type { RandomStream } from './random.ts'
import { argmax, sample, type SampleOptions } from './sample.ts'
import type { Tokenizer } from './tokenizer.ts'

export interface GenerateOptions extends SampleOptions {
  readonly maxTokens: number
  /** Texts before which to stop; none empty. */
  readonly stop?: readonly string[] | undefined
  readonly random: RandomStream
  readonly signal?: AbortSignal | undefined
}

export interface GeneratedToken {
  readonly id: number
  /** Text that became certain with this token: a character can take several, a stop sequence holds back what begins it. */
  readonly text: string
  /** Undefined without routers. */
  readonly routing: Routing | undefined
  /** On the last token: the document ended or a stop sequence came, or there was no room for more. */
  readonly finish: 'stop' | 'length' | undefined
}

export interface Routing {
  /** The expert that the routers trusted most with the position that chose the token. */
  readonly expert: number
  /** Router scores of all experts, mean over layers; they sum to 1. */
  readonly scores: readonly number[]
}

/**
 * Continues a prompt token by token, until the end of the document, a stop sequence or `maxTokens`. Of a text that is
 * longer than the model's positions, the model sees the end (`windowStart`).
 */
export async function* generate(
  decoder: Decoder,
  tokenizer: Tokenizer,
  prompt: string,
  options: GenerateOptions,
): AsyncGenerator<GeneratedToken> {
  const reading = decoder.open()
  const detokenizer = createDetokenizer(tokenizer, tokenizer.encode(prompt))
  const stops = createStopFilter(options.stop ?? [])
  let unread: Iterable<number> = tokenizer.encodeDocument(prompt)
  for (let made = 1; made <= options.maxTokens && options.signal?.aborted !== true; made++) {
    const { logits, routerScores } = await reading.append(unread)
    const id = sample(logits, options, options.random)
    const ended = id === tokenizer.endOfText
    const { text, stopped } = stops.push(ended ? '' : detokenizer.push(id))
    const finish = stopped || ended ? 'stop' : made === options.maxTokens ? 'length' : undefined
    const rest = finish === undefined || stopped ? '' : stops.flush()
    yield { id, text: text + rest, routing: routing(routerScores), finish }
    if (finish !== undefined) return
    unread = [id]
  }
}

function routing(scores: readonly (readonly number[])[]): Routing | undefined {
  const [first] = scores
  if (first === undefined) return undefined
  const mean = first.map((_, e) => scores.reduce((sum, layer) => sum + layer[e]!, 0) / scores.length)
  return { expert: argmax(mean), scores: mean }
}
