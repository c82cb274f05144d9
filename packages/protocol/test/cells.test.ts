import { describe, expect, it } from 'vitest'
import { commonBits, findCell, mayBelong, positionOf, possibleCells } from '../src/cells.ts'
import { seeded } from './support/random.ts'

const positions = (count: number, prefix = 'peer'): string[] =>
  Array.from({ length: count }, (_, i) => positionOf(`${prefix}-${i}`))

/** Everyone's cell when everyone knows everyone. */
function cellsOf(everyone: readonly string[], current: (position: string) => string = () => ''): string[] {
  return everyone.map((own) =>
    findCell(
      own,
      everyone.filter((position) => position !== own),
      current(own),
    ),
  )
}

const sizes = (cells: readonly string[]): number[] => {
  const counts = new Map<string, number>()
  for (const cell of cells) counts.set(cell, (counts.get(cell) ?? 0) + 1)
  return [...counts.values()]
}

/** `count` positions that begin with a prefix. */
function standing(prefix: string, count: number, seed: number): string[] {
  const random = seeded(seed)
  return Array.from({ length: count }, () => {
    let bits = prefix
    while (bits.length < 48) bits += random() < 0.5 ? '0' : '1'
    return bits
  })
}

describe('a position', () => {
  it('is the beginning of the SHA-256 of the id', () => {
    // printf abc | sha256sum: ba7816bf 8f01...
    expect(positionOf('abc')).toBe(
      [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01].map((byte) => byte.toString(2).padStart(8, '0')).join(''),
    )
  })

  it('has bits in common with another up to the first that differs', () => {
    expect(commonBits('0110', '0100')).toBe(2)
    expect(commonBits('0110', '01')).toBe(2)
    expect(commonBits('1', '0')).toBe(0)
  })
})

describe('the cell of a peer', () => {
  it('is the whole swarm up to 15 peers', () => {
    for (let count = 1; count <= 15; count++)
      expect(new Set(cellsOf(positions(count)))).toEqual(new Set(['']))
  })

  it.each([16, 24, 64, 200, 1000, 4096])(
    'has between 4 and 15 members, and a few guests, of %i peers',
    (count) => {
      const found = sizes(cellsOf(positions(count)))
      expect(Math.min(...found)).toBeGreaterThanOrEqual(4)
      expect(Math.max(...found)).toBeLessThanOrEqual(15 + 3)
      expect(found.reduce((sum, size) => sum + size, 0)).toBe(count)
    },
  )

  it.each([1, 2, 3])('that would have %i members on its side is the one of the other side', (few) => {
    const everyone = [...standing('0', few, 1), ...standing('1', 14, 2)]
    const cells = cellsOf(everyone)
    const expected = everyone.length <= 15 ? '' : '1'
    expect(new Set(cells)).toEqual(new Set([expected]))
  })

  it('takes guests in a side that has divided further, all in the same leaf as its members', () => {
    const everyone = [...standing('0', 2, 1), ...standing('10', 9, 2), ...standing('11', 10, 3)]
    const cells = cellsOf(everyone)
    expect(cells.slice(2, 11)).toEqual(Array.from({ length: 9 }, () => '10'))
    expect(cells.slice(11)).toEqual(Array.from({ length: 10 }, () => '11'))
    for (const cell of cells.slice(0, 2)) expect(['10', '11']).toContain(cell)
    for (const [i, cell] of cells.entries()) expect(mayBelong(cell, everyone[i]!)).toBe(true)
  })

  it('does not depend on where it is now, beyond hysteresis: a joiner finds the cell of those who are there', () => {
    const everyone = positions(300)
    const cells = cellsOf(everyone)
    expect(cellsOf(everyone, (own) => cells[everyone.indexOf(own)]!)).toEqual(cells)
  })

  it('stays divided when one of 16 leaves, and when they come and go', () => {
    const everyone = [...standing('0', 8, 1), ...standing('1', 8, 2)]
    const cells = cellsOf(everyone)
    expect(new Set(cells)).toEqual(new Set(['0', '1']))
    const fewer = everyone.slice(0, 15)
    expect(cellsOf(fewer, (own) => own[0]!)).toEqual(cells.slice(0, 15))
    expect(cellsOf(fewer)).toEqual(fewer.map(() => ''))
  })

  it('joins its sibling when fewer than four are left on a side, seen from both sides', () => {
    const everyone = [...standing('0', 3, 1), ...standing('1', 9, 2)]
    expect(cellsOf(everyone, (own) => own[0]!)).toEqual(everyone.map(() => ''))
  })

  it('is found from a sample of far-away peers as from all of them', () => {
    const everyone = positions(2000)
    const cells = cellsOf(everyone)
    const random = seeded(5)
    for (const [i, own] of everyone.entries()) {
      if (i % 20 !== 0) continue
      const buckets = new Map<number, string[]>()
      for (const other of everyone) {
        if (other === own) continue
        const bits = commonBits(own, other)
        buckets.set(bits, [...(buckets.get(bits) ?? []), other])
      }
      const sample = [...buckets.values()].flatMap((bucket) =>
        bucket.length <= 24 ? bucket : bucket.filter(() => random() < 20 / bucket.length),
      )
      expect(findCell(own, sample, '')).toBe(cells[i])
    }
  })

  it('is one of the cells that could ever be ours', () => {
    const everyone = positions(500)
    for (const [i, cell] of cellsOf(everyone).entries()) {
      expect(mayBelong(cell, everyone[i]!)).toBe(true)
    }
    const possible = possibleCells(everyone[0]!)
    expect(possible).toHaveLength(833)
    expect(possible.every((cell) => mayBelong(cell, everyone[0]!))).toBe(true)
  })
})
