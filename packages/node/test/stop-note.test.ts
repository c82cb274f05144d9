import { expect, it } from 'vitest'
import { createStopNote } from '../src/cli/stop-note.ts'
import type { PeerEvent } from '../src/events.ts'

const start = (round: number) => ({ event: 'start', round }) as PeerEvent
const round = (round: number) => ({ event: 'round', round }) as PeerEvent
const result = { event: 'result' } as PeerEvent

it('tells the round that all have done', () => {
  const note = createStopNote()
  note.note('a', start(0))
  note.note('a', round(3))
  note.note('b', start(0))
  expect(note.text(2, 'go on')).toBe('stopped in the first round; go on')
  note.note('b', round(2))
  expect(note.text(2, 'go on')).toBe('stopped after round 2; go on')
  expect(note.text(3, 'go on')).toBe('stopped before training began; go on')
})

it('knows what a peer did before it was started again', () => {
  const note = createStopNote()
  note.note('a', start(7))
  expect(note.text(1, 'go on')).toBe('stopped after round 7; go on')
})

it('says nothing when all had come to their end', () => {
  const note = createStopNote()
  note.note('a', round(3))
  note.note('b', round(3))
  note.note('a', result)
  expect(note.text(2, 'go on')).toBe('stopped after round 3; go on')
  note.note('b', result)
  expect(note.text(2, 'go on')).toBeUndefined()
})
