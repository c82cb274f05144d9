import { z } from 'zod'

/** Bounds of what one request may ask for; the server bounds its body before. */
export const MAX_TOKENS = 2048
const MAX_MESSAGES = 512
const MAX_STOP_SEQUENCES = 4
const MAX_STOP_LENGTH = 128

/** A parameter that would change the answer and that we do not have: only its neutral values pass. */
const only = (...values: (string | number | boolean)[]) => {
  const neutral = values.map((value) => JSON.stringify(value)).join(' or ')
  return z.literal(values, { error: `is not supported: leave it out, or say ${neutral}` }).nullish()
}
const UNHEARD = { error: 'is not supported: leave it out' }
const none = z.union([z.array(z.never()).length(0), z.strictObject({}, UNHEARD)], UNHEARD).nullish()

const UNSUPPORTED = {
  n: only(1),
  best_of: only(1),
  echo: only(false),
  logprobs: only(false, 0),
  top_logprobs: only(0),
  suffix: only(''),
  presence_penalty: only(0),
  frequency_penalty: only(0),
  logit_bias: none,
  tools: none,
  functions: none,
  tool_choice: only('none', 'auto'),
  function_call: only('none', 'auto'),
  response_format: z.object({ type: z.literal('text', UNHEARD) }).nullish(),
  audio: z.null(UNHEARD).optional(),
}

const stop = z.string().min(1).max(MAX_STOP_LENGTH)
const tokens = z.number().int().min(1).max(MAX_TOKENS).nullish()

const COMMON = {
  model: z.string(),
  max_tokens: tokens,
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  /** Not OpenAI's; the name that other servers use. */
  top_k: z.number().int().min(1).nullish(),
  stop: z.union([stop, z.array(stop).max(MAX_STOP_SEQUENCES)]).nullish(),
  seed: z.number().int().nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().optional() }).nullish(),
  ...UNSUPPORTED,
}

/** POST /v1/completions. Fields that nobody knows are ignored, as OpenAI's clients send several. */
export const completionRequest = z.object({
  ...COMMON,
  prompt: z.union([z.string(), z.tuple([z.string()]).transform(([prompt]) => prompt)]).default(''),
})

const textParts = z
  .array(z.object({ type: z.literal('text'), text: z.string() }))
  .transform((parts) => parts.map(({ text }) => text).join(''))

/** POST /v1/chat/completions. */
export const chatRequest = z.object({
  ...COMMON,
  max_completion_tokens: tokens,
  messages: z
    .array(
      z.object({
        role: z.enum(['system', 'developer', 'user', 'assistant']),
        content: z.union([z.string(), textParts]),
      }),
    )
    .min(1)
    .max(MAX_MESSAGES),
})

export type CompletionRequest = z.infer<typeof completionRequest>
export type ChatRequest = z.infer<typeof chatRequest>
