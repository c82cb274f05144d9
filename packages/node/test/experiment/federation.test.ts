import { createTrainer, type LearnerState, namedArrays, placeBase, selectEngine } from '@comigs/model'
import { edgeWeight, mixingIncrement } from '@comigs/protocol'
import { describe, expect, it, onTestFinished } from 'vitest'
import { expectClose, expectSame } from '../../../model/test/helpers/compare.ts'
import { tinyBase } from '../../../model/test/helpers/models.ts'
import { joined } from '../../src/experiment/data.ts'
import type { FederationState } from '../../src/experiment/federation.ts'
import { nesterov } from '../../src/momentum.ts'
import { strategiesNamed, STRATEGIES } from '../../src/experiment/strategies.ts'
import { PAPER } from '../../src/paper.ts'
import { BATCH, CONTEXT, tinyFederations, USERS } from './tiny.ts'

const federations = await tinyFederations()
const strategy = (name: string) => strategiesNamed([name])[0]!

/** Every trained array of a user, by name. */
function arraysOf(name: string, user: number, state: LearnerState): Map<string, Float32Array> {
  const { layout } = federations.learner(strategy(name).mixture(user), BATCH)
  const { experts, router } = state.arrays
  const named = [
    ...namedArrays(layout.experts, experts!),
    ...(router === undefined ? [] : namedArrays(layout.router, router)),
  ]
  return new Map(named.map(({ name, values }) => [name, values]))
}

const PARTS = {
  attention: /\.attn\./,
  'expert 0 A': /experts\.0\..*lora_A$/,
  'expert 0 B': /experts\.0\..*lora_B$/,
  'expert 1': /experts\.1\./,
  router: /router/,
}
type Part = keyof typeof PARTS

/** Which parts hold for every array in them. */
function parts(
  name: string,
  { models }: FederationState,
  holds: (key: string, user: number, values: Float32Array, ofUser0: Float32Array) => boolean,
): Part[] {
  const users = models.map((model, user) => arraysOf(name, user, model))
  return (Object.keys(PARTS) as Part[]).filter((part) => {
    const keys = [...users[0]!.keys()].filter((key) => PARTS[part].test(key))
    return (
      keys.length > 0 &&
      keys.every((key) =>
        users.every((arrays, user) => holds(key, user, arrays.get(key)!, users[0]!.get(key)!)),
      )
    )
  })
}

const same = (a: Float32Array, b: Float32Array) =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength))

const ALL: Part[] = ['attention', 'expert 0 A', 'expert 0 B', 'expert 1', 'router']
const GENERALIST: Part[] = ['attention', 'expert 0 A', 'expert 0 B']
const TWO: Part[] = [...GENERALIST, 'expert 1']

/** By the paper's sections 3.1 and 4.2 and the authors' code: what is equal between users after a round, what has moved. */
const EXPECTED: Record<
  string,
  { equal: Part[]; moved: Part[]; withoutRouterPhase: Part[]; routers: number }
> = {
  local: { equal: [], moved: TWO, withoutRouterPhase: TWO, routers: 0 },
  fedavg: { equal: TWO, moved: TWO, withoutRouterPhase: TWO, routers: 0 },
  pcl: { equal: [], moved: TWO, withoutRouterPhase: TWO, routers: 0 },
  'local-moe': { equal: [], moved: ALL, withoutRouterPhase: ALL, routers: 30 },
  'fedavg-moe': { equal: TWO, moved: ALL, withoutRouterPhase: ALL, routers: 30 },
  pfedmoe: { equal: GENERALIST, moved: ALL, withoutRouterPhase: ALL, routers: 30 },
  'comigs-2s': { equal: [], moved: ALL, withoutRouterPhase: TWO, routers: 10 },
  'comigs-2g': { equal: TWO, moved: ALL, withoutRouterPhase: TWO, routers: 10 },
  'comigs-1g1s': { equal: GENERALIST, moved: ALL, withoutRouterPhase: TWO, routers: 10 },
  'comigs-1g1s-leaky': { equal: GENERALIST, moved: ALL, withoutRouterPhase: TWO, routers: 10 },
  'comigs-momentum': { equal: GENERALIST, moved: ALL, withoutRouterPhase: TWO, routers: 10 },
  'local-moe-tr': { equal: [], moved: ALL, withoutRouterPhase: TWO, routers: 10 },
  'fedavg-moe-tr': { equal: TWO, moved: ALL, withoutRouterPhase: TWO, routers: 10 },
  'comigs-tr': { equal: GENERALIST, moved: ALL, withoutRouterPhase: TWO, routers: 10 },
  'ffa-lora': {
    equal: GENERALIST,
    moved: ['attention', 'expert 0 B'],
    withoutRouterPhase: ['attention', 'expert 0 B'],
    routers: 0,
  },
  'fedsa-lora': { equal: ['expert 0 A'], moved: GENERALIST, withoutRouterPhase: GENERALIST, routers: 0 },
}

describe('what a strategy moves and shares', () => {
  it.each(Object.entries(EXPECTED))('%s', async (name, { equal, moved, withoutRouterPhase, routers }) => {
    const { states } = await federations.run(strategy(name), { target: 'own' })
    const last = states.at(-1)!
    expect(parts(name, last, (_, __, values, ofUser0) => same(values, ofUser0))).toEqual(equal)

    const start = startOf(name)
    const changed = (key: string, user: number, values: Float32Array) =>
      !same(values, arraysOf(name, user, start[user]!).get(key)!)
    expect(parts(name, states[0]!, changed)).toEqual(withoutRouterPhase)
    expect(parts(name, last, changed)).toEqual(moved)
    expect(last.models.map(({ expertSteps, routerSteps }) => [expertSteps, routerSteps])).toEqual(
      USERS.map(() => [30, routers]),
    )
  })

  /** The same draw as a federation begins with. */
  function startOf(name: string): LearnerState[] {
    const { mixture, shares } = strategy(name)
    const common = (key: string) => PARTS.attention.test(key) || /experts\.0/.test(key) || shares(key)
    return USERS.map((_, user) =>
      federations.learner(mixture(user), BATCH).initial(42_000 + user, 42_000, common),
    )
  }
})

describe('a federation', () => {
  it.each([
    ['comigs-1g1s', undefined],
    ['comigs-momentum', 0.5],
  ])('of %s is what four peers do that mix by the protocol', async (name, factor) => {
    const { states } = await federations.run(strategy(name))
    const valid = joined(USERS.map((user) => user.valid))
    const peers = await Promise.all(
      USERS.map(async ({ train }, user) => {
        const { engine } = await selectEngine({ engine: 'onnx' })
        onTestFinished(() => {
          engine.dispose()
        })
        placeBase(engine, tinyBase())
        return createTrainer(
          engine,
          tinyBase(),
          { train, valid },
          {
            mixture: strategy(name).mixture(user),
            batch: BATCH,
            context: CONTEXT,
            schedule: { kind: 'cosine', rate: PAPER.rate, steps: 30 },
            routerRate: PAPER.routerRate,
            weightDecay: PAPER.weightDecay,
            balance: PAPER.balance,
            sharedSeed: 42_000,
            seed: 42_000 + user,
          },
        )
      }),
    )
    const velocities = peers.map(({ layout }) => new Float32Array(layout.sharedSize))
    for (let round = 1; round <= 3; round++) {
      const starts = await Promise.all(peers.map((peer) => peer.shared()))
      for (const peer of peers) await peer.trainExperts(10)
      const copies = await Promise.all(peers.map((peer) => peer.shared()))
      for (const [i, peer] of peers.entries()) {
        const neighbours = copies.flatMap((copy, j) => (j === i ? [] : [{ copy, weight: edgeWeight(3, 3) }]))
        await peer.addShared(mixingIncrement(copies[i]!, neighbours, 1))
        if (factor === undefined) continue
        const moved = (await peer.shared()).map((value, k) => value - starts[i]![k]!)
        await peer.addShared(nesterov({ factor, velocity: velocities[i]! }, moved))
      }
    }
    for (const peer of peers) await peer.trainRouters(10)
    for (const [user, peer] of peers.entries()) {
      const arrays = new Map((await peer.save()).arrays.map(({ name, values }) => [name, values]))
      for (const [array, values] of arraysOf(name, user, states.at(-1)!.models[user]!)) {
        const group = array.includes('router') ? 'router' : 'experts'
        expectClose(values, arrays.get(`${group}/${array}`)!, { relative: 1e-4 }, array)
      }
    }
  })

  it.each([
    'comigs-1g1s',
    'gossip-top-k',
    'gossip-pairs',
    'comigs-momentum',
    'pfedmoe',
    'ffa-lora',
    'centralized',
    'twofold',
  ])('of %s that was stopped goes on as if it had not been', async (name) => {
    const whole = await federations.run(strategy(name), { rounds: 4 })
    const stop = new AbortController()
    const states: FederationState[] = []
    const stopped = federations.run(strategy(name), {
      rounds: 4,
      signal: stop.signal,
      save: async (state) => void states.push(state),
      onRound: (round) => {
        if (round === 2) stop.abort()
      },
    })
    await expect(stopped).rejects.toThrow('aborted')
    const rest = await federations.run(strategy(name), { rounds: 4, from: states.at(-1) })
    expect(rest.states.map(({ round }) => round)).toEqual([3, 4])
    expect(rest.result).toEqual(whole.result)
    expect(rest.states.at(-1)).toEqual(whole.states.at(-1))
  })

  it('stops before the next user trains', async () => {
    const stop = new AbortController()
    let trained = 0
    const stopped = federations.run(strategy('fedavg'), {
      signal: stop.signal,
      learner: (...shape) => {
        const learner = federations.learner(...shape)
        return {
          ...learner,
          train: (state, phase) => {
            trained++
            if (trained === 2) stop.abort()
            return learner.train(state, phase)
          },
        }
      },
    })
    await expect(stopped).rejects.toThrow('aborted')
    expect(trained).toBe(2)
  })

  it.each(['local', 'twofold'])(
    'of %s tells how much of the test is done, and stops within it',
    async (name) => {
      const told: number[] = []
      await federations.run(strategy(name), { rounds: 1, onTest: (share) => told.push(share) })
      expect(told[0]).toBe(0)
      expect(told).toEqual([...new Set(told)].sort((a, b) => a - b))
      expect(told.at(-1)).toBe(1)
      const [whole, stop] = [told.length, new AbortController()]
      const stopped = federations.run(strategy(name), {
        rounds: 1,
        signal: stop.signal,
        onTest: (share) => {
          told.push(share)
          if (share > 0) stop.abort()
        },
      })
      await expect(stopped).rejects.toThrow('aborted')
      expect(told.slice(whole)).toEqual(told.slice(0, 2))
    },
  )

  it("measures each user on its own text and on everyone's", async () => {
    const { result } = await federations.run(strategy('local'))
    expect(result.users.map(({ name }) => name)).toEqual(['a', 'b', 'c', 'd'])
    const { states } = await federations.run(strategy('local'))
    const learner = federations.learner(strategy('local').mixture(1), BATCH)
    const alone = await learner.evaluate(states.at(-1)!.models[1]!, USERS[1]!.test)
    expect(result.users[1]!.own).toBeCloseTo(alone.perplexity, 3)
    const mixed = await learner.evaluate(states.at(-1)!.models[1]!, joined(USERS.map(({ test }) => test)))
    expect(result.users[1]!.mixture).toBeCloseTo(mixed.perplexity, 3)
  })

  it('lets routers learn from the target, and from nothing else of the others', async () => {
    const own = await federations.run(strategy('comigs-1g1s'), { target: 'own' })
    const mixture = await federations.run(strategy('comigs-1g1s'), { target: 'mixture' })
    expectSame(
      own.states.at(-1)!.models[0]!.arrays['experts']!,
      mixture.states.at(-1)!.models[0]!.arrays['experts']!,
    )
    expect(own.states.at(-1)!.models[0]!.arrays['router']).not.toEqual(
      mixture.states.at(-1)!.models[0]!.arrays['router'],
    )
  })

  it.each([
    ['generalist', 'fedavg'],
    ['specialist', 'local'],
  ])('of two whole models has in its %s all that %s trains', async (half, alone) => {
    const both = (await federations.run(strategy('twofold-wide'))).states.at(-1)!
    const one = (await federations.run(strategy(alone))).states.at(-1)!
    for (const [user, model] of one.models.entries()) {
      for (const [key, values] of Object.entries(model.arrays)) {
        const from = half === 'generalist' ? 0 : values.length
        expectSame(both.models[user]!.arrays[key]!.subarray(from, from + values.length), values, key)
      }
    }
  })

  it('of two whole models is as good at everything as the better of them, but for ln 2 nats a window', async () => {
    const of = async (name: string) => (await federations.run(strategy(name))).result
    const [both, fedavg, local] = [await of('twofold-wide'), await of('fedavg'), await of('local')]
    // 39 targets of a user in windows of 16: three.
    const allowance = Math.exp((3 * Math.LN2) / 39)
    for (const [i, { own, mixture }] of both.users.entries()) {
      const [a, b] = [fedavg.users[i]!, local.users[i]!]
      expect(own).toBeLessThanOrEqual(allowance * Math.min(a.own, b.own))
      expect(mixture).toBeLessThanOrEqual(allowance * Math.min(a.mixture, b.mixture))
    }
    expect(both.bytesPerRound).toBe(fedavg.bytesPerRound)
  })

  it("of one pooled model takes batches of everyone's text", async () => {
    const { states, result } = await federations.run(strategy('centralized'))
    expect(states.at(-1)!.models).toHaveLength(1)
    expect(new Set(result.users.map(({ mixture }) => mixture)).size).toBe(1)
    expect(new Set(result.users.map(({ own }) => own)).size).toBe(4)
  })

  it('of the base alone is the base', async () => {
    const { states, result } = await federations.run(strategy('pretrained'))
    expect(states).toEqual([])
    const start = await federations.run(strategy('comigs-1g1s'), { rounds: 0 })
    for (const [i, { mixture }] of result.users.entries())
      expect(mixture).toBeCloseTo(start.result.users[i]!.mixture, 3)
  })

  it.each(['flexlora', 'hetlora'])(
    'of users with unequal ranks (%s) agrees as far as ranks go',
    async (name) => {
      const { states } = await federations.run(strategy(name))
      const sizes = states.at(-1)!.models.map(({ arrays }) => arrays['experts']!.length)
      expect(sizes.map((size) => size / sizes[1]!)).toEqual([2, 1, 1, 1])
      const [, b, c] = states.at(-1)!.models
      expectSame(b!.arrays['experts']!, c!.arrays['experts']!)
    },
  )

  it('gives users as many experts as their strategy says', async () => {
    const { states } = await federations.run(strategy('comigs-1gxs'))
    const router = states.at(-1)!.models.map(({ arrays }) => arrays['router']!.length)
    expect(router).toEqual([2, 2, 4, 4].map((experts) => experts * 16 * 2))
  })
})

it('names every strategy once', () => {
  const names = STRATEGIES.map(({ name }) => name)
  expect(new Set(names).size).toBe(names.length)
  expect(() => strategiesNamed(['comigs'])).toThrow(/comigs-1g1s/)
})
