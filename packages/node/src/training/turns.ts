import type { Engine } from '@comigs/model'
import { setImmediate } from 'node:timers/promises'

/** What shares the engine: steps of the round loop, and tokens for whoever asks for text. */
export type Work = 'training' | 'text'

export interface Turns {
  /** The engine as one kind of work sees it: every run of a program waits for its turn. */
  share(engine: Engine, work: Work): Engine
}

/**
 * Lets two kinds of work run on one engine, one program at a time, so that each gets half of the time that both want and
 * all of it when the other is idle: start-time fair queueing (Goyal, Vin and Cheng 1996). A training step takes a hundred
 * times as long as a token; taking turns one by one would starve the text, and text first would starve the training. Among
 * equals, who asked first runs first, so that texts written side by side advance token by token.
 * @param now - in milliseconds
 */
export function createTurns(now: () => number): Turns {
  const waiting: Record<Work, (() => Promise<void>)[]> = { training: [], text: [] }
  /** Engine time that each has had, as far as it counts. */
  const used: Record<Work, number> = { training: 0, text: 0 }
  /** What the work that ran last had had before it ran. Who was idle counts from here: idleness is not saved up. */
  let virtual = 0
  let running = false

  const runAll = async (): Promise<void> => {
    running = true
    for (;;) {
      // Who has just had a turn may ask for another, and a message may cancel it, before anyone is chosen.
      await setImmediate()
      const asking = (['training', 'text'] as const).filter((work) => waiting[work].length > 0)
      const [work] = asking.sort((a, b) => used[a] - used[b])
      if (work === undefined) break
      virtual = used[work]
      const started = now()
      await waiting[work].shift()!()
      used[work] += now() - started
    }
    running = false
  }

  const take = <T>(work: Work, run: () => Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      if (waiting[work].length === 0) used[work] = Math.max(used[work], virtual)
      waiting[work].push(() => run().then(resolve, reject))
      if (!running) void runAll()
    })

  return {
    share: (engine, work) => ({
      ...engine,
      async compile(step) {
        const program = await engine.compile(step)
        return { ...program, run: (inputs) => take(work, () => program.run(inputs)) }
      },
    }),
  }
}
