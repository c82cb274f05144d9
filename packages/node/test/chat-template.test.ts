import { describe, expect, it } from 'vitest'
import { chatPrompt, withoutLeadingSpace } from '../src/text/chat-template.ts'

describe('a chat prompt', () => {
  it('is a transcript that asks for its next line', () => {
    const { prompt } = chatPrompt([
      { role: 'system', content: 'Two friends talk.' },
      { role: 'user', content: ' Hello! \n' },
      { role: 'assistant', content: 'Hi.' },
      { role: 'user', content: 'And now?' },
    ])
    expect(prompt).toBe('Two friends talk.\n\nUser: Hello!\nAssistant: Hi.\nUser: And now?\nAssistant:')
  })

  it('stops where the next speaker would begin, as the transcript writes it', () => {
    const { prompt, stop } = chatPrompt([
      { role: 'user', content: 'Hello!' },
      { role: 'assistant', content: 'Hi.' },
      { role: 'user', content: 'And now?' },
    ])
    for (const one of stop) expect(prompt).toContain(one)
  })
})

describe('an answer', () => {
  it('begins with its first word, however the space before it is cut', () => {
    for (const pieces of [[' Hi', ' there'], [' ', '', 'Hi', ' there'], ['Hi there']])
      expect(pieces.map(withoutLeadingSpace()).join('')).toBe('Hi there')
  })
})
