import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

export interface Memory {
  /** What JavaScript holds, arrays included. */
  readonly heldMB: number
  /** The whole process. */
  readonly residentMB: number
}

/** After everything that nobody holds is gone. */
export async function memory(): Promise<Memory> {
  for (let turn = 0; turn < 3; turn++) {
    collect()
    // Finalisers of native objects run in turns of their own.
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  return { heldMB: (heapUsed + external) / 2 ** 20, residentMB: rss / 2 ** 20 }
}

/** Figures for whoever runs the soak, past the reporter. */
export function tell(what: string, after: string, { heldMB, residentMB }: Memory): void {
  process.stdout.write(
    `${what}, ${after}: ${heldMB.toFixed(1)} MB held, ${residentMB.toFixed(0)} MB resident\n`,
  )
}
