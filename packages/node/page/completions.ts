import type { GeneratedToken } from '@comigs/model'

export interface CompletionRequest {
  readonly model: string
  readonly prompt: string
  readonly max_tokens: number
  readonly temperature: number
}

export type Piece = Pick<GeneratedToken, 'text' | 'routing'>

interface Chunk {
  readonly choices?: readonly { readonly text: string }[]
  /** The peer's extension. */
  readonly comigs?: GeneratedToken['routing']
  readonly error?: { readonly message: string }
}

/**
 * The pieces of a text as the peer writes it.
 * @throws Error with the peer's own words
 */
export async function* complete(
  url: string,
  request: CompletionRequest,
  { headers, signal }: { readonly headers: Record<string, string>; readonly signal: AbortSignal },
): AsyncGenerator<Piece> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify({ ...request, stream: true }),
    signal,
  })
  if (!response.ok || response.body === null)
    throw new Error(errorMessage(response.status, await response.json().catch(() => undefined)))
  for await (const data of eventData(response.body)) {
    if (data === '[DONE]') return
    const { choices, comigs, error } = JSON.parse(data) as Chunk
    if (error !== undefined) throw new Error(error.message)
    const text = choices?.[0]?.text ?? ''
    if (text !== '') yield { text, routing: comigs }
  }
}

/** What a server says when it refuses, in OpenAI's form or, failing that, its status. */
export function errorMessage(status: number, body: unknown): string {
  return (body as Chunk | undefined)?.error?.message ?? `the peer answered ${status}`
}

/** The data of server-sent events that have nothing else (WHATWG HTML, section 9.2). */
export async function* eventData(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      const events = (rest + decoder.decode(value, { stream: true })).split('\n\n')
      rest = events.pop()!
      for (const event of events) if (event.startsWith('data: ')) yield event.slice('data: '.length)
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}
