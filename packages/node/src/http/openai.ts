import type { GeneratedToken } from '@comigs/model'
import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { randomInt, randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import type { z } from 'zod'
import { NodeError } from '../errors.ts'
import { chatPrompt, withoutLeadingSpace } from '../text/chat-template.ts'
import type { TextService } from '../text/text-service.ts'
import type { GenerateRequest, TextModel } from '../training/training-host.ts'
import { type ChatRequest, chatRequest, completionRequest, type CompletionRequest } from './openai-schemas.ts'

const MODELS: readonly TextModel[] = ['personal', 'base']

/** What OpenAI's own servers take when nothing is said; a chat there has no limit, here it has. */
const COMPLETION_TOKENS = 16
const CHAT_TOKENS = 256

/** No token is longer in any vocabulary that we know: what is longer than this does not fit, without counting. */
const MAX_TOKEN_CHARACTERS = 64

/**
 * OpenAI's HTTP interface (list models, completions, chat completions, streaming by server-sent events), so that existing
 * clients can talk to a peer as they are. One extension: while streaming, each chunk has a field `comigs` with the expert
 * that the routers trusted most with the token, and all experts' scores.
 */
export function addOpenAiRoutes(server: FastifyInstance, text: TextService): void {
  const started = unixTime()
  server.register(
    (v1, _, done) => {
      v1.setErrorHandler<FastifyError>((error, _, response) => {
        const { status, body } = errorAnswer(error)
        void response.code(status).send(body)
      })
      v1.setNotFoundHandler((request, response) => {
        void response
          .code(404)
          .send(invalid(`there is no ${request.method} ${request.url}`, { code: 'not_found' }))
      })
      const describe = (id: TextModel) => ({ id, object: 'model', created: started, owned_by: 'comigs' })
      v1.get('/models', () => ({ object: 'list', data: MODELS.map(describe) }))
      v1.get<{ Params: { model: string } }>('/models/:model', ({ params }) => describe(modelOf(params.model)))
      v1.post('/completions', async ({ body }, response) => {
        const request = parse(completionRequest, body)
        return answer(text, COMPLETION, request, { prompt: request.prompt, stop: [] }, response)
      })
      v1.post('/chat/completions', async ({ body }, response) => {
        const request = parse(chatRequest, body)
        return answer(text, CHAT, request, chatPrompt(request.messages), response)
      })
      done()
    },
    { prefix: '/v1' },
  )
}

/** How completions and chat completions differ in what they send back. */
interface Form {
  readonly id: string
  readonly object: { readonly whole: string; readonly chunk: string }
  readonly tokens: number
  /** Makes the pieces of one answer presentable. */
  trim(): (piece: string) => string
  whole(text: string): object
  /** The first chunk of a chat names the speaker. */
  chunk(text: string, isFirst: boolean): object
}

const COMPLETION: Form = {
  id: 'cmpl',
  object: { whole: 'text_completion', chunk: 'text_completion' },
  tokens: COMPLETION_TOKENS,
  trim: () => (piece) => piece,
  whole: (text) => ({ text, logprobs: null }),
  chunk: (text) => ({ text, logprobs: null }),
}

const CHAT: Form = {
  id: 'chatcmpl',
  object: { whole: 'chat.completion', chunk: 'chat.completion.chunk' },
  tokens: CHAT_TOKENS,
  trim: withoutLeadingSpace,
  whole: (content) => ({ message: { role: 'assistant', content, refusal: null }, logprobs: null }),
  chunk: (content, isFirst) => ({
    delta: isFirst ? { role: 'assistant', content } : content === '' ? {} : { content },
    logprobs: null,
  }),
}

async function answer(
  text: TextService,
  form: Form,
  asked: CompletionRequest | ChatRequest,
  { prompt, stop }: { readonly prompt: string; readonly stop: readonly string[] },
  response: FastifyReply,
): Promise<unknown> {
  const model = modelOf(asked.model)
  // Listened for from the start: the worker may take a training step's time to count.
  const gone = new AbortController()
  response.raw.on('close', () => gone.abort())
  const promptTokens = await requireFit(text, prompt)
  const request: GenerateRequest = {
    model,
    prompt,
    maxTokens:
      ('max_completion_tokens' in asked ? asked.max_completion_tokens : undefined) ??
      asked.max_tokens ??
      form.tokens,
    temperature: asked.temperature ?? 1,
    topK: asked.top_k ?? undefined,
    topP: asked.top_p ?? undefined,
    stop: [...stop, ...[asked.stop ?? []].flat()],
    seed: asked.seed ?? randomInt(2 ** 32),
  }
  const tokens = await begun(text.write(request, gone.signal))
  const head = { id: `${form.id}-${randomUUID()}`, created: unixTime(), model }
  const usage = (made: number) => ({
    prompt_tokens: promptTokens,
    completion_tokens: made,
    total_tokens: promptTokens + made,
  })

  if (asked.stream === true) {
    const withUsage = asked.stream_options?.include_usage === true
    const events = streamed(form, head, tokens, withUsage ? usage : undefined)
    return response
      .type('text/event-stream; charset=utf-8')
      .header('cache-control', 'no-cache')
      .send(Readable.from(events))
  }
  const trim = form.trim()
  let whole = ''
  let made = 0
  let finish: GeneratedToken['finish']
  for await (const token of tokens) {
    whole += trim(token.text)
    finish = token.finish
    made++
  }
  return {
    ...head,
    object: form.object.whole,
    choices: [{ index: 0, ...form.whole(whole), finish_reason: finish }],
    usage: usage(made),
  }
}

/** The same tokens, once there is a first: until then a failure still has a status of its own. */
async function begun(tokens: AsyncIterable<GeneratedToken>): Promise<AsyncIterable<GeneratedToken>> {
  const rest = tokens[Symbol.asyncIterator]()
  const first = await rest.next()
  return (async function* () {
    try {
      for (let next = first; next.done !== true; next = await rest.next()) yield next.value
    } finally {
      await rest.return?.()
    }
  })()
}

/** Server-sent events of one answer (WHATWG HTML, section 9.2), ended as OpenAI ends them. */
async function* streamed(
  form: Form,
  head: object,
  tokens: AsyncIterable<GeneratedToken>,
  usage: ((made: number) => object) | undefined,
): AsyncGenerator<string> {
  const event = (data: object) => `data: ${JSON.stringify(data)}\n\n`
  const chunk = (rest: object) => event({ ...head, object: form.object.chunk, ...rest })
  const trim = form.trim()
  let made = 0
  try {
    for await (const { text, routing, finish } of tokens) {
      const piece = trim(text)
      // A token inside a character has no text of its own yet.
      if (piece !== '' || made === 0 || finish !== undefined) {
        const choice = { index: 0, ...form.chunk(piece, made === 0), finish_reason: finish ?? null }
        yield chunk({ choices: [choice], ...(routing === undefined ? {} : { comigs: routing }) })
      }
      made++
    }
    if (usage !== undefined) yield chunk({ choices: [], usage: usage(made) })
    yield 'data: [DONE]\n\n'
  } catch (error) {
    yield event(errorAnswer(error).body)
  }
}

interface ErrorBody {
  readonly error: {
    readonly message: string
    readonly type: string
    readonly param: string | null
    readonly code: string | null
  }
}

/** A mistake of whoever asks. */
class RequestError extends Error {
  readonly status: number
  readonly body: ErrorBody

  constructor(status: number, body: ErrorBody) {
    super(body.error.message)
    this.status = status
    this.body = body
  }
}

function invalid(
  message: string,
  { param = null, code = null }: Partial<ErrorBody['error']> = {},
): ErrorBody {
  return { error: { message, type: 'invalid_request_error', param, code } }
}

function errorAnswer(error: unknown): { status: number; body: ErrorBody } {
  if (error instanceof RequestError) return error
  const message = error instanceof Error ? error.message : String(error)
  const failed = (status: number, type: string, code: string) => {
    return { status, body: { error: { message, type, param: null, code } } }
  }
  if (error instanceof NodeError && error.detail.code === 'TEXT_QUEUE_FULL')
    return failed(429, 'rate_limit_error', 'queue_full')
  if (error instanceof NodeError && error.detail.code === 'TEXT_TIMEOUT')
    return failed(503, 'server_error', 'timeout')
  const status = (error as Partial<FastifyError>).statusCode ?? 500
  if (status < 500) return { status, body: invalid(message) }
  return failed(500, 'server_error', 'failed')
}

function parse<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const parsed = schema.safeParse(body)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]!
  const param = issue.path.join('.')
  throw new RequestError(
    400,
    invalid(`${param === '' ? 'the body' : `'${param}'`}: ${issue.message}`, { param }),
  )
}

function modelOf(name: string): TextModel {
  const found = MODELS.find((model) => model === name)
  if (found !== undefined) return found
  const message = `there is no model '${name}'; there are ${MODELS.map((model) => `'${model}'`).join(' and ')}`
  throw new RequestError(404, invalid(message, { param: 'model', code: 'model_not_found' }))
}

/** @returns tokens of the prompt */
async function requireFit(text: TextService, prompt: string): Promise<number> {
  const { positions } = text
  const count = prompt.length > positions * MAX_TOKEN_CHARACTERS ? undefined : await text.countTokens(prompt)
  if (count !== undefined && count <= positions) return count
  const message = `the prompt has ${count ?? 'far too many'} tokens, this model can see ${positions}`
  throw new RequestError(400, invalid(message, { param: 'prompt', code: 'context_length_exceeded' }))
}

const unixTime = (): number => Math.floor(Date.now() / 1000)
