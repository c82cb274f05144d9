import { expect, it } from 'vitest'
import { Directory } from '../src/directory.ts'
import { VirtualClock } from './support/virtual-clock.ts'

const SECOND = 1000

function directory() {
  const clock = new VirtualClock()
  return { clock, known: new Directory({ self: 'self', clock, random: () => 0.5 }) }
}

it('keeps where a peer listens against what somebody heard before', async () => {
  const { clock, known } = directory()
  await clock.advance(60 * SECOND)
  known.heard('bob', ['/new'])
  known.heard('bob', ['/old'], 30 * SECOND)
  known.heard('bob', ['/oldest'], Infinity)
  expect(known.get('bob')).toMatchObject({ addresses: ['/new'], heardMs: clock.now() })
  await clock.advance(10 * SECOND)
  known.heard('bob', ['/newer'], 5 * SECOND)
  expect(known.get('bob')).toMatchObject({ addresses: ['/newer'], heardMs: clock.now() - 5 * SECOND })
})

it('takes any address of a peer of which it knows none', async () => {
  const { clock, known } = directory()
  await clock.advance(60 * SECOND)
  known.heard('bob', [])
  known.heard('bob', ['/old'], 30 * SECOND)
  expect(known.get('bob')).toMatchObject({ addresses: ['/old'], heardMs: clock.now() })
})

it('a look at who is connected takes no address away', () => {
  const { known } = directory()
  known.heard('bob', ['/here'])
  known.heard('bob', [])
  expect(known.get('bob')?.addresses).toEqual(['/here'])
})
