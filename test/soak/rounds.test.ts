import { expect, it } from 'vitest'
import { runRounds, type RoundTrainer } from '../../packages/node/src/round.ts'
import {
  createWorld,
  meet,
  type Peer,
  startPeer,
  type World,
} from '../../packages/protocol/test/support/world.ts'
import { memory, tell } from './memory.ts'

const ROUNDS = 500
const WARM = 100
/** More than a stream's window, so that a transfer can be caught half-way; one kept per failure would be 75 MB. */
const PARAMETERS = 98_304
const TRAIN_MS = 10_000
/** A round, with what it may wait for others. */
const WINDOW_MS = 1.25 * TRAIN_MS

const NAMES = ['ada', 'ben', 'cleo', 'dan']
/** In turns: a connection breaks in mid-transfer, a link goes quiet for two rounds, a peer dies in mid-transfer. */
const FAILURES = ['break', 'quiet', 'death'] as const

it(`peers hold no more memory after ${ROUNDS} rounds, half of which fail, than after ${WARM}`, async () => {
  const village = await createVillage()
  await village.live(WARM)
  const before = await memory()
  tell('rounds', `${WARM} rounds`, before)
  await village.live(ROUNDS)
  const after = await memory()
  tell('rounds', `${ROUNDS} rounds`, after)
  const { windows, failed, rounds, mixed, deaths } = village.seen
  const share = (mixed / rounds).toFixed(2)
  process.stdout.write(
    `rounds: transfers failed in ${failed} of ${windows} windows, ${deaths} deaths; ${share} of 3 neighbours mixed with\n`,
  )
  await village.end()
  expect(failed).toBeGreaterThan(0.4 * windows)
  expect(deaths).toBeGreaterThan(40)
  expect(mixed / rounds).toBeGreaterThan(2)
  expect(after.heldMB - before.heldMB).toBeLessThan(4)
})

interface Resident {
  peer: Peer
  x: Float32Array
  round: number
  stop: AbortController
  done: Promise<void>
}

/** Peers with the real protocol and the real round loop, in memory and virtual time; only what trains is plain. */
async function createVillage() {
  const world = createWorld('float32', PARAMETERS)
  const residents = new Map<string, Resident>()
  const seen = { windows: 0, failed: 0, rounds: 0, mixed: 0, deaths: 0 }
  /** Breaks the next transfer between two, once it is under way. */
  let broken: ((server: string) => void) | undefined

  const settleIn = async (name: string, before?: Resident): Promise<void> => {
    const peer = await startPeer(world, name, {
      restored: before?.peer.states.at(-1),
      serving: (honest) => ({
        payload: (hash) => {
          broken?.(name)
          return honest.payload(hash)
        },
      }),
    })
    const x = before?.x ?? world.initial.slice()
    const resident: Resident = {
      peer,
      x,
      round: before?.round ?? 0,
      stop: new AbortController(),
      done: Promise.resolve(),
    }
    residents.set(name, resident)
    for (const other of residents.values()) if (other !== resident) await meet(world, peer, other.peer)
    resident.done = runRounds({
      trainer: plainTrainer(world, x),
      gossip: peer.gossip,
      // One cell.
      averaging: { offer: () => undefined, take: () => [], whyNot: () => 'alone' },
      clock: world.clock,
      manifest: world.manifest,
      strategy: 'comigs',
      localSteps: world.manifest.localSteps,
      from: resident.round,
      to: Infinity,
      evaluateEvery: 1000,
      evaluateBatches: 1,
      waitShare: 0.25,
      checkpoint: async (round) => void (resident.round = round),
      onRound: ({ exchange }) => {
        seen.rounds++
        seen.mixed += exchange?.mixedWith.length ?? 0
      },
      signal: resident.stop.signal,
    })
  }

  /** @returns what makes it good again */
  const harm = (kind: (typeof FAILURES)[number], at: number): (() => Promise<void>) => {
    const [a, b] = [NAMES[at % 4]!, NAMES[(at + 1 + (at % 3)) % 4]!]
    const reunite = async (...others: string[]) => {
      for (const other of others) world.network.mend(a, other)
      for (const other of others) await meet(world, residents.get(a)!.peer, residents.get(other)!.peer)
    }
    switch (kind) {
      case 'break':
        broken = (server) => {
          if (server !== a) return
          broken = undefined
          setImmediate(() => world.network.cut(a, b))
        }
        return () => reunite(b)
      case 'quiet':
        world.network.stall(a, b)
        return async () => world.network.resume(a, b)
      case 'death': {
        const { peer, stop, done } = residents.get(a)!
        const others = NAMES.filter((name) => name !== a)
        broken = (server) => {
          if (server !== a) return
          broken = undefined
          setImmediate(() => {
            for (const other of others) world.network.cut(a, other)
            stop.abort()
            peer.gossip.stop()
            void peer.exchange.stop()
          })
        }
        return async () => {
          stop.abort()
          await world.clock.run(done)
          seen.deaths++
          const before = residents.get(a)!
          residents.delete(a)
          for (const other of others) world.network.mend(a, other)
          await settleIn(a, before)
        }
      }
    }
  }

  for (const name of NAMES) await settleIn(name)
  return {
    seen,
    /** Until everyone has made so many rounds. */
    async live(rounds: number): Promise<void> {
      while ([...residents.values()].some(({ round }) => round < rounds)) {
        const at = seen.windows++
        const kind = at % 4 === 0 ? undefined : FAILURES[at % FAILURES.length]!
        const heal = kind === undefined ? undefined : harm(kind, at)
        await world.clock.advance(kind === 'quiet' ? 2 * WINDOW_MS : WINDOW_MS)
        broken = undefined
        await heal?.()
        const refusals = [...residents.values()].flatMap(({ peer }) => peer.refusals)
        if (refusals.some(({ reason }) => reason === 'unreachable' || reason === 'timeout')) seen.failed++
        for (const { peer } of residents.values()) forget(peer)
        world.pubsub.judgements.length = 0
        world.network.handlerErrors.length = 0
      }
    },
    async end(): Promise<void> {
      for (const { stop } of residents.values()) stop.abort()
      await world.clock.run(Promise.all([...residents.values()].map(({ done }) => done)))
    },
  }
}

/** The notes that a test peer takes are not what is measured. */
function forget({ states, refusals, refusedPeers, streams, diary }: Peer): void {
  states.splice(0, states.length - 1)
  for (const notes of [refusals, refusedPeers, streams, diary]) notes.length = 0
}

function plainTrainer({ clock }: World, x: Float32Array): RoundTrainer {
  const result = { loss: 1, tokens: 1, routerScores: [] }
  return {
    async trainExperts(steps) {
      await clock.sleep(TRAIN_MS)
      for (let k = 0; k < x.length; k++) x[k]! += 0.01 * Math.sin(k + x[k]!)
      return { ...result, steps, learningRate: 0.001 }
    },
    trainRouters: async () => undefined,
    evaluate: async () => ({ ...result, perplexity: Math.E, groups: [] }),
    validationLoss: async () => 1,
    shared: async () => x.slice(),
    async addShared(increment) {
      for (let k = 0; k < x.length; k++) x[k]! += increment[k]!
    },
  }
}
