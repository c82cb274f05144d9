import { expect, it } from 'vitest'
import { inFifths } from '../src/fifths.ts'

it('tells the start and each fifth once, but not the end', () => {
  const told: number[] = []
  const tell = inFifths((share) => told.push(share))
  for (let percent = 0; percent <= 100; percent++) tell(percent / 100)
  expect(told).toEqual([0, 0.2, 0.4, 0.6, 0.8])
})

it('leaves out what is passed over', () => {
  const told: number[] = []
  const tell = inFifths((share) => told.push(share))
  for (const share of [0.1, 0.5, 1]) tell(share)
  expect(told).toEqual([0, 0.4])
})
