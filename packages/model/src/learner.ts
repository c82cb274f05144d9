import type { BaseModel } from './base.ts'
import type { MixtureConfig } from './config.ts'
import { randomBatch, type TokenSet } from './data.ts'
import type { Engine } from './engine/engine.ts'
import { ModelError } from './errors.ts'
import { evaluate, evaluateTogether, type Evaluation, type OnShare, windowLosses } from './evaluate.ts'
import { initialise, type Layout, namedArrays, trainedLayout, type TrainedLayout } from './parameters.ts'
import { stream } from './random.ts'
import {
  evaluationStep,
  EXPERTS,
  expertStep,
  jointStep,
  leaked,
  leakyStep,
  moments,
  ROUTER,
  routerStep,
} from './steps.ts'
import { lazily, type LazyProgram, optimiserInputs } from './trainer.ts'

/** Everything that training has made of one user: what a `Trainer` keeps in engine memory, as plain arrays. */
export interface LearnerState {
  /** Parameters and both moments, flat, by their names in engine memory. */
  readonly arrays: Readonly<Record<string, Float32Array>>
  readonly expertSteps: number
  readonly routerSteps: number
}

export interface LearnerOptions {
  readonly mixture: MixtureConfig
  /** Sequences in a batch, B. */
  readonly batch: number
  /** Tokens of a sequence, T. */
  readonly context: number
  readonly weightDecay: number
  /** Factor of the load-balancing loss, lambda. */
  readonly balance: number
  /** Whether gradients leak from each phase into the other, as in the authors' code (`leakyStep`). @default false */
  readonly leaky?: boolean
}

export interface LearnerPhase {
  /** `both`: one step moves experts and routers. */
  readonly trains: 'experts' | 'routers' | 'both'
  readonly set: TokenSet
  readonly steps: number
  /** Learning rate of a step, counted from 0 over all phases of the kind. */
  rate(step: number): number
  readonly seed: number
  /** Of the random stream that batches are drawn from. */
  readonly batches: string
  /** Parameters that stay as they are although their group is trained. */
  readonly frozen?: ((name: string) => boolean) | undefined
}

/**
 * Trains any number of users, one after the other, on one engine with one set of compiled steps. A `Trainer` is one user
 * who lives in the engine; here users are values, for experiments that hold all of a federation in one process.
 */
export interface Learner {
  readonly layout: TrainedLayout
  /**
   * Zero steps done.
   * @param common - parameters that begin the same for all, from `commonSeed`
   */
  initial(seed: number, commonSeed: number, common: (name: string) => boolean): LearnerState
  /**
   * @returns the state after the phase, the one given stays as it was; mean loss in nats per token
   * @throws ModelError `LOSS_NON_FINITE`
   */
  train(state: LearnerState, phase: LearnerPhase): Promise<{ state: LearnerState; loss: number }>
  evaluate(state: LearnerState, set: TokenSet, maxBatches?: number, onShare?: OnShare): Promise<Evaluation>
  /** Of several states as one model: `evaluateTogether`. */
  evaluateTogether(
    states: readonly LearnerState[],
    set: TokenSet,
    maxBatches?: number,
    onShare?: OnShare,
  ): Promise<Evaluation>
}

/** Needs the base in engine memory (`placeBase`). Learners may share an engine, but not at the same time. */
export function createLearner(engine: Engine, base: BaseModel, options: LearnerOptions): Learner {
  const { mixture, batch, context } = options
  const layout = trainedLayout(base.config, mixture)
  const shape = { model: base.config, mixture, layout, batch, context, balance: options.balance }
  const groups = [
    { key: EXPERTS, layout: layout.experts },
    { key: ROUTER, layout: layout.router },
  ].filter((group) => group.layout.size > 0)
  /** What lies beside a group's parameters, zeros at first. */
  const beside = (key: string) => [...moments(key), ...(options.leaky ? [leaked(key)] : [])]
  const names = groups.flatMap(({ key }) => [key, ...beside(key)])

  const program = lazily(engine)
  const programs: Record<LearnerPhase['trains'], LazyProgram> = {
    experts: program(() => (options.leaky ? leakyStep(shape, EXPERTS) : expertStep(shape))),
    routers: program(() => (options.leaky ? leakyStep(shape, ROUTER) : routerStep(shape))),
    both: program(() => jointStep(shape)),
  }
  const evaluation = program(() => evaluationStep(shape))
  const windowEvaluation = program(() => evaluationStep({ ...shape, batch: 1 }))

  const place = (key: string, values: Float32Array) =>
    engine.place(key, { shape: [values.length], dtype: 'float32', values: values.slice() })
  const placeAll = (state: LearnerState) => {
    for (const name of names) place(name, state.arrays[name]!)
  }

  return {
    layout,

    initial(seed, commonSeed, common) {
      const arrays: Record<string, Float32Array> = {}
      for (const group of groups) {
        arrays[group.key] = initialise(group.layout, seed)
        overwrite(group.layout, arrays[group.key]!, initialise(group.layout, commonSeed), common)
        for (const name of beside(group.key)) arrays[name] = new Float32Array(group.layout.size)
      }
      return { arrays, expertSteps: 0, routerSteps: 0 }
    },

    async train(state, phase) {
      placeAll(state)
      const compiled = await programs[phase.trains]()
      const done = phase.trains === 'routers' ? state.routerSteps : state.expertSteps
      let sum = 0
      for (let step = done; step < done + phase.steps; step++) {
        const { loss } = await compiled.run({
          ...randomBatch(phase.set, batch, context, stream(phase.seed, phase.batches, step)),
          ...optimiserInputs(step, phase.rate(step), options.weightDecay),
        })
        if (!Number.isFinite(loss![0]))
          throw new ModelError({ code: 'LOSS_NON_FINITE', phase: phase.trains, step })
        sum += loss![0]!
        if (phase.frozen !== undefined) {
          const values = await engine.read(EXPERTS)
          overwrite(layout.experts, values, state.arrays[EXPERTS]!, phase.frozen)
          place(EXPERTS, values)
        }
      }
      const arrays: Record<string, Float32Array> = {}
      for (const name of names) arrays[name] = await engine.read(name)
      const trainedRouters = phase.trains !== 'experts' ? phase.steps : 0
      const trainedExperts = phase.trains !== 'routers' ? phase.steps : 0
      return {
        state: {
          arrays,
          expertSteps: state.expertSteps + trainedExperts,
          routerSteps: state.routerSteps + trainedRouters,
        },
        loss: sum / phase.steps,
      }
    },

    async evaluate(state, set, maxBatches, onShare) {
      placeAll(state)
      const of = { batch, context, experts: mixture.experts }
      return evaluate(await evaluation(), set, of, maxBatches, onShare)
    },

    async evaluateTogether(states, set, maxBatches, onShare) {
      const losses: Awaited<ReturnType<typeof windowLosses>>[] = []
      for (const [i, state] of states.entries()) {
        placeAll(state)
        const tell = onShare && ((share: number) => onShare((i + share) / states.length))
        losses.push(await windowLosses(await windowEvaluation(), set, shape, maxBatches, tell))
      }
      return evaluateTogether(set, losses)
    },
  }
}

/** Copies those parameters that `which` picks. */
function overwrite(
  layout: Layout,
  target: Float32Array,
  source: Float32Array,
  which: (name: string) => boolean,
): void {
  const from = namedArrays(layout, source)
  namedArrays(layout, target).forEach(({ name, values }, i) => {
    if (which(name)) values.set(from[i]!.values)
  })
}
