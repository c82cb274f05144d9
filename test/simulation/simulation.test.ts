import { describe, expect, it } from 'vitest'
import { mean } from '../../packages/protocol/src/mixing.ts'
import { consensusOf, quiet, runScenario, type Scenario, scenarioOf } from './support/scenario.ts'
import { createSwarm, ROUND_MS, type Swarm } from './support/swarm.ts'

// A few swarms, small and quick. `npm run test:simulation` runs many.

const TIMEOUT_MS = 120_000

/** Everything at once, on four peers. */
const STORM: Partial<Scenario> = {
  peers: 5,
  loss: 0.2,
  duplication: 0.2,
  broken: 0.05,
  unequal: true,
  clockSkewMs: 3_600_000,
  strangers: 2,
  churn: 0.3,
  partition: { from: 3, to: 7 },
  faulty: 12,
  calm: 14,
}

describe('a simulated swarm', () => {
  it(
    'comes through loss, duplication, broken streams, churn, a partition and strangers',
    async () => {
      const { violations, consensus, refusedFor } = await runScenario(quiet(11, STORM))
      expect(violations).toEqual([])
      expect(consensus).toBeLessThan(0.01)
      // A stranger of this version, and one of a later.
      expect(refusedFor).toEqual(['comigs', 'localSteps'])
    },
    TIMEOUT_MS,
  )

  it(
    'does the same with the same seed, to the last bit, and with real signatures',
    async () => {
      const what: Partial<Scenario> = {
        ...STORM,
        peers: 3,
        realKeys: true,
        faulty: 5,
        calm: 6,
        partition: undefined,
      }
      const [once, again, another] = [
        await runScenario(quiet(3, what)),
        await runScenario(quiet(3, what)),
        await runScenario(quiet(4, what)),
      ]
      expect(again.fingerprint).toBe(once.fingerprint)
      expect(another.fingerprint).not.toBe(once.fingerprint)
    },
    TIMEOUT_MS,
  )

  it(
    'learns more together than alone',
    async () => {
      const short: Partial<Scenario> = { peers: 6, faulty: 10, calm: 8 }
      const together = await runScenario(quiet(5, short))
      const alone = await runScenario(quiet(5, { ...short, exchange: false }))
      expect(together.loss).toBeLessThan(0.9 * alone.loss)
    },
    TIMEOUT_MS,
  )

  it(
    'of four, with a straggler, does not part in two pairs that only listen to each other',
    async () => {
      const { violations, consensus } = await runScenario(scenarioOf(665))
      expect(violations).toEqual([])
      expect(consensus).toBeLessThan(0.001)
    },
    TIMEOUT_MS,
  )

  it('draws every kind of trouble from its seeds', () => {
    const drawn = Array.from({ length: 200 }, (_, seed) => scenarioOf(seed))
    for (const trouble of [
      'loss',
      'duplication',
      'broken',
      'stragglers',
      'clockSkewMs',
      'strangers',
      'churn',
    ] as const)
      expect(drawn.filter((scenario) => scenario[trouble] > 0).length, trouble).toBeGreaterThan(20)
    expect(drawn.filter(({ partition }) => partition !== undefined).length).toBeGreaterThan(50)
    expect(drawn.filter(({ unequal }) => unequal).length).toBeGreaterThan(30)
    expect(drawn.filter(({ momentum }) => momentum !== undefined).length).toBeGreaterThan(30)
    expect(drawn.filter(({ realKeys }) => realKeys).length).toBeGreaterThan(10)
    const defended = drawn.filter(({ robust }) => robust).length
    expect(Math.abs(defended - drawn.length / 2)).toBeLessThan(drawn.length / 10)
  })
})

const vectors = (swarm: Swarm) =>
  swarm.peers.flatMap(({ life }) => (life === undefined ? [] : [life.trainer.x]))
const cells = (swarm: Swarm) =>
  new Set(swarm.peers.flatMap(({ life }) => (life === undefined ? [] : [life.network.connector.cell()])))

describe('a swarm that defends itself', () => {
  it(
    'does not take cells of few, who learn something else, for liars',
    async () => {
      const { violations, cells: count } = await runScenario(
        quiet(4, { peers: 20, robust: true, faulty: 10, calm: 8 }),
      )
      expect(count).toBe(3)
      expect(violations).toEqual([])
    },
    TIMEOUT_MS,
  )
})

describe('a swarm that grows and shrinks', () => {
  it(
    'divides into cells that still learn one thing, and joins again without losing it',
    async () => {
      const training = { rounds: 6 }
      const swarm = await createSwarm({
        ...quiet(2, {}),
        peers: 20,
        codec: { values: 'float16' },
        rate: (ms) => (ms < training.rounds * ROUND_MS ? 1 : 0),
      })
      for (const peer of swarm.peers) {
        swarm.start(peer)
        await swarm.run(200)
      }
      await swarm.run(14 * ROUND_MS)
      expect(cells(swarm)).toEqual(new Set(['0', '1']))
      // Two cells, that follow nothing of each other, and yet agree: by pairwise averaging.
      expect(
        Math.max(...swarm.peers.map(({ life }) => life!.network.gossip.neighbours().length)),
      ).toBeLessThan(16)
      expect(consensusOf(vectors(swarm), swarm.problem.initial)).toBeLessThan(0.01)
      const before = mean(vectors(swarm))

      for (const peer of swarm.peers.slice(6)) swarm.kill(peer)
      await swarm.run(20 * ROUND_MS)
      expect(cells(swarm)).toEqual(new Set(['']))
      for (const { life } of swarm.peers.slice(0, 6)) {
        // The dead are remembered for a while, and not mixed with.
        const living = life!.network.gossip.neighbours().filter(({ ageRounds }) => ageRounds <= 3)
        expect(living).toHaveLength(5)
      }
      expect(consensusOf([before, ...vectors(swarm)], swarm.problem.initial)).toBeLessThan(0.01)
      expect(swarm.errors).toEqual([])
      await swarm.stop()
      expect(swarm.clock.sleeping).toBe(0)
    },
    TIMEOUT_MS,
  )
})
