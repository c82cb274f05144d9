// Peak memory of a process and all its descendants, where /proc tells it (Linux).
import { readdirSync, readFileSync } from 'node:fs'

/** @returns process ids, the root's first; ends at processes that are gone */
export function processTree(root) {
  const children = new Map()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const parent = Number(field(name, 'PPid'))
    children.set(parent, [...(children.get(parent) ?? []), Number(name)])
  }
  const tree = [root]
  for (const pid of tree) tree.push(...(children.get(pid) ?? []))
  return tree
}

/**
 * Sum of the peak resident set sizes (VmHWM) of the processes of a tree that are alive: an upper bound of their peak
 * together, exact for one process.
 * @returns megabytes (10^6 bytes); undefined where there is no /proc
 */
export function peakMemoryMB(root) {
  try {
    const kib = processTree(root).reduce((sum, pid) => sum + Number.parseInt(field(pid, 'VmHWM') ?? '0'), 0)
    return Math.round((kib * 1024) / 1e6)
  } catch {
    return undefined
  }
}

/** Resident memory of one process now, megabytes; undefined where there is no /proc. */
export function residentMemoryMB(pid) {
  const kib = field(pid, 'VmRSS')
  return kib === undefined ? undefined : Math.round((Number.parseInt(kib) * 1024) / 1e6)
}

/** A line of /proc/<pid>/status. */
function field(pid, name) {
  try {
    return new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  } catch {
    return undefined // it ended in the meantime
  }
}
