/** Tells of a share, from 0 to 1, at the start and whenever another fifth is done: often enough to see that it goes on. */
export function inFifths(tell: (share: number) => void): (share: number) => void {
  let told = -1
  return (share) => {
    const fifths = Math.floor(5 * share)
    if (fifths === told || fifths === 5) return
    told = fifths
    tell(fifths / 5)
  }
}
