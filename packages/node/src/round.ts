import type { Evaluation, PhaseResult, SplitName } from '@comigs/model'
import {
  type Averaging,
  type Clock,
  difference,
  type Gossip,
  type Manifest,
  type MixReport,
  type NotAveraged,
} from '@comigs/protocol'
import { createBenefitGuard, type GuardedTrainer } from './benefit-guard.ts'
import { type Momentum, nesterov } from './momentum.ts'
import { negated } from './vectors.ts'

/** What the round loop asks of whoever trains: the worker in a peer, plain vectors in a simulator. */
export interface RoundTrainer extends GuardedTrainer {
  trainExperts(steps: number): Promise<PhaseResult>
  trainRouters(steps: number): Promise<PhaseResult | undefined>
  evaluate(split: SplitName, maxBatches?: number): Promise<Evaluation>
  shared(): Promise<Float32Array>
}

/** `comigs`: exchange with the swarm. `local`: train alone; nothing is sent. */
export type Strategy = 'comigs' | 'local'

export interface Exchange extends MixReport {
  readonly payloadBytes: number
  /** The neighbours that the benefit guard took out of this mixture. */
  readonly harmful: readonly string[]
  /** Peers of other cells that x was averaged with. */
  readonly averagedWith: number
  /** Why with nobody, where it was nobody. */
  readonly notAveraged: NotAveraged | undefined
}

export interface RoundReport {
  readonly round: number
  readonly experts: PhaseResult
  readonly routers: PhaseResult | undefined
  /** Undefined when the strategy is local. */
  readonly exchange: Exchange | undefined
  readonly validation: Evaluation | undefined
  /** Differential privacy spent so far; undefined where the federation asks for none. */
  readonly epsilon: number | undefined
  readonly seconds: {
    readonly train: number
    readonly publish: number
    readonly collect: number
    readonly total: number
  }
}

export interface RoundsInit {
  readonly trainer: RoundTrainer
  readonly gossip: Pick<Gossip, 'publish' | 'collect' | 'mix'>
  readonly averaging: Pick<Averaging, 'offer' | 'take' | 'whyNot'>
  readonly clock: Clock
  readonly manifest: Manifest
  readonly strategy: Strategy
  /** H, expert steps a round: the federation's, or fewer on a slow machine. */
  readonly localSteps: number
  /** The last finished round. */
  readonly from: number
  /** Stop after this round. */
  readonly to: number
  readonly evaluateEvery: number
  /** Batches of a validation estimate. */
  readonly evaluateBatches: number
  /** How long a round may wait for others, as a share of its training time. */
  readonly waitShare: number
  /** Undefined where the federation has none. */
  readonly momentum?: Momentum | undefined
  /** Makes of an update what may leave this machine; with the epsilon spent so far. Undefined: nothing is done to it. */
  readonly protect?:
    | ((start: Float32Array, trained: Float32Array) => Promise<{ x: Float32Array; epsilon: number }>)
    | undefined
  checkpoint(round: number): Promise<void>
  onRound(report: RoundReport): void
  readonly signal: AbortSignal
}

/** The life of a peer, round after round. Nobody is waited for longer than usual, and nothing here can stop a round. */
export async function runRounds(init: RoundsInit): Promise<void> {
  const { trainer, gossip, averaging, clock, manifest, momentum, signal } = init
  // What the guard decides depends on private text, so that it cannot go with differential privacy.
  const guard = manifest.robust && init.protect === undefined ? createBenefitGuard(trainer) : undefined
  // Those after every so many expert steps: with an H of our own they need not fall together with the end of a round.
  const phasesUntil = (round: number) => Math.floor((round * init.localSteps) / manifest.routerEvery)
  for (let round = init.from + 1; round <= init.to && !signal.aborted; round++) {
    const started = clock.now()

    // 1. Train the experts on our own text: H local steps, routers frozen, and move on as it went where the federation has
    // momentum. Meanwhile average with a peer of another cell.
    const start = await trainer.shared()
    if (init.strategy === 'comigs') averaging.offer(start)
    const experts = await trainer.trainExperts(init.localSteps)
    const epsilon = init.protect && (await protectUpdate(trainer, start, init.protect))
    if (momentum !== undefined)
      await trainer.addShared(nesterov(momentum, difference(await trainer.shared(), start)))
    const trained = clock.now()

    // 2. Publish what changed in the shared part; 3. wait a little for the others; 4. mix with what has arrived.
    let exchange: RoundReport['exchange']
    let published = trained
    let collected = trained
    if (init.strategy === 'comigs') {
      const averaged = averaging.take()
      const notAveraged = averaged.length > 0 ? undefined : averaging.whyNot()
      for (const one of averaged)
        await (guard === undefined ? trainer.addShared(one.increment) : guard.addAveraged(one))
      const x = await trainer.shared()
      const { payloadBytes } = await gossip.publish(x, round)
      published = clock.now()
      await gossip.collect({ maxMs: init.waitShare * (trained - started), signal })
      collected = clock.now()
      const mixed = gossip.mix(x, guard?.muted(round))
      const harmful = guard === undefined ? [] : await guard.add(mixed, round)
      if (guard === undefined) await trainer.addShared(mixed.increment)
      exchange = { ...mixed, payloadBytes, harmful, averagedWith: averaged.length, notAveraged }
    }

    // 5. When due, train the routers on validation text, experts frozen, with the mixture they will be used with.
    const due = phasesUntil(round) - phasesUntil(round - 1)
    const routers = due > 0 ? await trainer.trainRouters(due * manifest.routerSteps) : undefined

    // 6. When due, look how well it goes.
    const look = round % init.evaluateEvery === 0 || round === init.to
    const validation = look ? await trainer.evaluate('valid', init.evaluateBatches) : undefined

    // 7. Write it down: a peer that dies from here on loses nothing of this round.
    await init.checkpoint(round)

    // 8. Report.
    const seconds = (from: number, to: number) => (to - from) / 1000
    init.onRound({
      round,
      experts,
      routers,
      exchange,
      validation,
      epsilon,
      seconds: {
        train: seconds(started, trained),
        publish: seconds(trained, published),
        collect: seconds(published, collected),
        total: seconds(started, clock.now()),
      },
    })
  }
}

/** Replaces the trained shared vector. Exactly: x - x is 0, and 0 + v is v; one sum would keep x's last bits. */
async function protectUpdate(
  trainer: RoundTrainer,
  start: Float32Array,
  protect: NonNullable<RoundsInit['protect']>,
): Promise<number> {
  const trained = await trainer.shared()
  const { x, epsilon } = await protect(start, trained)
  await trainer.addShared(negated(trained))
  await trainer.addShared(x)
  return epsilon
}
