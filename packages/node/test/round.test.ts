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

it('moves on with momentum by what training moved, before others see it, and by nothing that came from them', async () => {
  const x = Float32Array.of(0)
  const at: Record<string, number[]> = { published: [], routers: [], seen: [], saved: [] }
  const result = { steps: 1, loss: 1, tokens: 1, learningRate: 1, routerScores: [] }
  const trainer: RoundTrainer = {
    async trainExperts() {
      x[0]! += 1
      return result
    },
    async trainRouters() {
      at['routers']!.push(x[0]!)
      return result
    },
    validationLoss: async () => 1,
    async evaluate() {
      at['seen']!.push(x[0]!)
      return { loss: 1, perplexity: Math.E, tokens: 1, groups: [], routerScores: [] }
    },
    shared: async () => x.slice(),
    async addShared(increment) {
      x[0]! += increment[0]!
    },
  }
  const mixture = { increment: Float32Array.of(3), mixedWith: [], leftOut: [], consensusDistance: undefined }
  const averaged = [[], [{ peer: 'of another cell', increment: Float32Array.of(10), clip: 1 }], []]
  await runRounds({
    trainer,
    gossip: {
      async publish(vector) {
        at['published']!.push(vector[0]!)
        return { payloadBytes: 0 }
      },
      collect: async () => undefined,
      mix: () => ({ ...mixture, contribution: () => new Float32Array(1) }),
    },
    averaging: { offer: () => undefined, take: () => averaged.shift()!, whyNot: () => undefined },
    clock: new VirtualClock(),
    manifest: { ...MANIFEST, robust: false },
    strategy: 'comigs',
    localSteps: MANIFEST.routerEvery,
    from: 0,
    to: 3,
    evaluateEvery: 1,
    evaluateBatches: 1,
    waitShare: 0.25,
    momentum: { factor: 0.5, velocity: new Float32Array(1) },
    async checkpoint() {
      at['saved']!.push(x[0]!)
    },
    onRound: () => undefined,
    signal: new AbortController().signal,
  })
  // Training moves it by 1: v is 1, 1.5, 1.75. Mixing moves it by 3, averaging in the second round by 10.
  const published = [1 + 0.5, 4.5 + 1 + 0.75 + 10, 19.25 + 1 + 0.875]
  const expected = published.map((x) => x + 3)
  expect(at).toEqual({ published, routers: expected, seen: expected, saved: expected })
})
