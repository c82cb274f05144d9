import { createHash } from 'node:crypto'

/**
 * Cells: leaves of a binary trie over the hashes of peer ids. A peer follows the copies of its own cell only, so that its
 * traffic does not grow with the swarm. Nobody assigns cells: everyone finds its own by the same walk.
 */

/** The beginning of a hash as '0' and '1'. The empty one is the whole swarm. */
export type Cell = string

/** A cell of more members divides; a cell of fewer joins its sibling. */
export const MOST_MEMBERS = 15
export const LEAST_MEMBERS = 4
/** What has divided joins again only with so much room to spare, so that one peer cannot make it flap. */
const SLACK_MEMBERS = 3
/** Enough to tell the peers of any swarm apart. */
const POSITION_BITS = 48
/** Cells of half a million peers. They only grow beyond that. */
const DEEPEST = 16
/** Levels at which a member may stand on the wrong side, as a guest. */
const MOST_FLIPS = 2

/** Positions are asked for all the time, of the same few peers. */
const memo = new Map<string, string>()
const MEMO_SIZE = 10_000

/** Where a peer stands in the trie. */
export function positionOf(peer: string): string {
  let position = memo.get(peer)
  if (position === undefined) {
    position = hashBits(peer)
    if (memo.size >= MEMO_SIZE) memo.clear()
    memo.set(peer, position)
  }
  return position
}

function hashBits(peer: string): string {
  const digest = createHash('sha256').update(peer).digest()
  let bits = ''
  for (let byte = 0; byte < POSITION_BITS / 8; byte++) bits += digest[byte]!.toString(2).padStart(8, '0')
  return bits
}

/** How many bits two positions, or a position and a cell, have in common. */
export function commonBits(a: string, b: string): number {
  const most = Math.min(a.length, b.length)
  for (let bit = 0; bit < most; bit++) if (a[bit] !== b[bit]) return bit
  return most
}

/** Whether a peer can belong to a cell: it stands there, or so near that it may be a guest. */
export function mayBelong(cell: Cell, position: string): boolean {
  let flips = 0
  for (let bit = 0; bit < cell.length; bit++) if (cell[bit] !== position[bit]) flips++
  return flips <= MOST_FLIPS
}

/** Every cell that a peer can ever belong to: 833. What is said about others need not be remembered. */
export function possibleCells(position: string): Cell[] {
  const cells: Cell[] = ['']
  const grow = (cell: Cell, flips: number): void => {
    if (cell.length === DEEPEST) return
    for (const bit of ['0', '1']) {
      const used = flips + (position[cell.length] === bit ? 0 : 1)
      if (used > MOST_FLIPS) continue
      cells.push(cell + bit)
      grow(cell + bit, used)
    }
  }
  grow('', 0)
  return cells
}

/**
 * The cell of a peer, given who else is alive: from the root, down our own side, for as long as there are too many. A
 * side of fewer than four does not make a cell; they go with the other side, as guests. So every cell has between 4 and 15
 * members that stand in it, whatever the shape of the swarm.
 *
 * Of large subtrees a sample is enough: it only has to show that there are more than 15, and more than 3 on each side.
 * @param own - our position
 * @param others - positions of the peers that are alive
 * @param current - the cell that we are in now
 */
export function findCell(own: string, others: readonly string[], current: Cell): Cell {
  let cell: Cell = ''
  let target = own
  let here = others
  for (let depth = 0; depth < DEEPEST; depth++) {
    const near = here.filter((position) => position[depth] === target[depth])
    const far = here.length - near.length
    const mine = near.length + (own.startsWith(cell + target[depth]!) ? 1 : 0)
    const isDivided = current.length > depth && current.startsWith(cell)
    const stops = isDivided
      ? mine + far <= MOST_MEMBERS - SLACK_MEMBERS && Math.min(mine, far) < LEAST_MEMBERS
      : mine + far <= MOST_MEMBERS
    if (stops) return cell
    const isGuest = isDivided && current[depth] !== target[depth]
    if (mine >= LEAST_MEMBERS + (isGuest ? 2 : 0)) {
      cell += target[depth]!
      here = near
    } else {
      const other = target[depth] === '0' ? '1' : '0'
      here = here.filter((position) => position[depth] === other)
      target = cell + other + target.slice(depth + 1)
      cell += other
    }
  }
  return cell
}
