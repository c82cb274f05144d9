import { expect, it } from 'vitest'
import { MANIFEST } from '../../protocol/test/support/federation.ts'
import { VirtualClock } from '../../protocol/test/support/virtual-clock.ts'
import { type RoundTrainer, runRounds } from '../src/round.ts'

/** What a peer without others trains in so many rounds: expert and router steps, and the rounds with router steps. */
async function trained(localSteps: number, rounds: number) {
  const done = { experts: 0, routers: 0, phases: [] as number[] }
  const result = (steps: number) => ({ steps, loss: 1, tokens: steps, learningRate: 1, routerScores: [] })
  const trainer: RoundTrainer = {
    async trainExperts(steps) {
      done.experts += steps
      return result(steps)
    },
    async trainRouters(steps) {
      done.routers += steps
      return result(steps)
    },
    validationLoss: async () => 1,
    evaluate: async () => ({ loss: 1, perplexity: Math.E, tokens: 1, groups: [], routerScores: [] }),
    shared: async () => new Float32Array(1),
    addShared: async () => undefined,
  }
  await runRounds({
    trainer,
    gossip: {} as never,
    averaging: {} as never,
    clock: new VirtualClock(),
    manifest: MANIFEST, // H 10, tau 30, s 10
    strategy: 'local',
    localSteps,
    from: 0,
    to: rounds,
    evaluateEvery: 1000,
    evaluateBatches: 1,
    waitShare: 0.25,
    checkpoint: async () => undefined,
    onRound: ({ round, routers }) => {
      if (routers !== undefined) done.phases.push(round)
    },
    signal: new AbortController().signal,
  })
  return done
}

it.each([
  ["the federation's H", 10, 9, [3, 6, 9]],
  ['an H that does not divide tau', 4, 30, [8, 15, 23, 30]],
  ['an H of several tau', 60, 2, [1, 2]],
])('trains routers every tau expert steps with %s', async (_, localSteps, rounds, phases) => {
  const done = await trained(localSteps, rounds)
  expect(done.experts).toBe(localSteps * rounds)
  expect(done.routers).toBe((done.experts / MANIFEST.routerEvery) * MANIFEST.routerSteps)
  expect(done.phases).toEqual(phases)
})
