export interface ChatMessage {
  readonly role: 'system' | 'developer' | 'user' | 'assistant'
  readonly content: string
}

/**
 * A conversation as text to be continued. The bases are not tuned for conversation and know no turn tokens: all we can do
 * is to write down a transcript that asks for its next line, and to stop where the model starts to speak for the user.
 */
export function chatPrompt(messages: readonly ChatMessage[]): { prompt: string; stop: readonly string[] } {
  const lines = messages.map(({ role, content }) => {
    const speaker = SPEAKER[role]
    return speaker === undefined ? `${content.trim()}\n\n` : `${speaker}: ${content.trim()}\n`
  })
  return { prompt: `${lines.join('')}Assistant:`, stop: ['\nUser:', '\nAssistant:'] }
}

/** Who writes what; instructions stand at the top without a speaker. */
const SPEAKER: Readonly<Partial<Record<ChatMessage['role'], string>>> = {
  user: 'User',
  assistant: 'Assistant',
}

/** Drops the space between "Assistant:" and what it says, from text that comes in pieces. */
export function withoutLeadingSpace(): (piece: string) => string {
  let begun = false
  return (piece) => {
    const text = begun ? piece : piece.trimStart()
    begun ||= text !== ''
    return text
  }
}
