import type { BaseModel } from './base.ts'
import { layoutArrays } from './checkpoint.ts'
import { type MixtureConfig } from './config.ts'
import { type Batch, randomBatch, type TokenSet } from './data.ts'
import type { Engine, Program, Step } from './engine/engine.ts'
import type { HostArray } from './engine/graph.ts'
import type { Storage } from './engine/storage.ts'
import { ModelError } from './errors.ts'
import { evaluate, type Evaluation, type OnShare, rows } from './evaluate.ts'
import {
  baseLayout,
  initialise,
  type Layout,
  type NamedArray,
  namedArrays,
  trainedLayout,
  type TrainedLayout,
} from './parameters.ts'
import { stream } from './random.ts'
import { learningRate, NO_PLATEAU, observePlateau, type Plateau, type Schedule } from './schedule.ts'
import {
  ADAMW,
  baseArray,
  evaluationStep,
  EXPERTS,
  expertStep,
  moments,
  ROUTER,
  routerStep,
  type StepShape,
} from './steps.ts'

export interface TrainerOptions {
  readonly mixture: MixtureConfig
  /** Sequences in a batch, B. */
  readonly batch: number
  /** Tokens of a sequence, T. */
  readonly context: number
  /** Of the experts' learning rate. */
  readonly schedule: Schedule
  /** Learning rate of the routers, constant (paper, appendix B). */
  readonly routerRate: number
  readonly weightDecay: number
  /** Factor of the load-balancing loss, lambda. */
  readonly balance: number
  /** Seeds the shared parameters: equal for all peers of a federation. */
  readonly sharedSeed: number
  /** Seeds what is this peer's own: specialists, routers, batches. */
  readonly seed: number
}

export interface PhaseResult {
  readonly steps: number
  /** Mean cross entropy per token over the phase's steps, in nats. */
  readonly loss: number
  readonly tokens: number
  /** Of the phase's last step. */
  readonly learningRate: number
  /** Mean router score per layer and expert over the phase. */
  readonly routerScores: readonly (readonly number[])[]
}

/** Everything that a resumed run needs beside its arrays. */
export interface TrainerCounters {
  readonly expertSteps: number
  readonly routerSteps: number
  readonly plateau: Plateau
}

export interface TrainerState {
  readonly counters: TrainerCounters
  /** Parameters and both moments of each, by name. */
  readonly arrays: readonly NamedArray[]
}

/**
 * Bi-level training by alternation (paper, section 3.3, algorithm 1): experts on the train split with the routers
 * frozen, routers on the validation split with the experts frozen. No gradient of one phase ever reaches the other's
 * parameters: each is a compiled step of its own that writes only its own group.
 */
export interface Trainer {
  readonly layout: TrainedLayout
  readonly counters: TrainerCounters
  /** @throws ModelError `LOSS_NON_FINITE`; the parameters are then those before the phase */
  trainExperts(steps: number): Promise<PhaseResult>
  /** Nothing to do where there is no router. */
  trainRouters(steps: number): Promise<PhaseResult | undefined>
  evaluate(set: TokenSet, maxBatches?: number, onShare?: OnShare): Promise<Evaluation>
  /** A copy of generalist and attention LoRA, flat, in the layout's order. */
  shared(): Promise<Float32Array>
  /** Adds to the shared parameters. Specialists, routers and moments stay as they are. */
  addShared(increment: Float32Array): Promise<void>
  /** Tells the schedule how validation goes; only `constant` listens. */
  observeValidation(loss: number): void
  save(): Promise<TrainerState>
  /** @throws ModelError `CHECKPOINT_INVALID` when an array is missing or has another shape */
  restore(state: TrainerState, path: string): void
  dispose(): void
}

/** How a base's matrices are kept; `auto`: in the fewest bits that keep what its files hold, where that saves much. */
export type BaseDtype = 'auto' | 'float32' | 'float16' | 'int8'
export const BASE_DTYPES: readonly BaseDtype[] = ['auto', 'float32', 'float16', 'int8']

/** A base that is smaller in float32 stays so: there is little to save (8 MB of the shipped one). */
const SMALL_BASE_BYTES = 100_000_000

/** What `auto` comes to for a base. */
export function settledDtype(
  { config, bits }: Pick<BaseModel, 'config' | 'bits'>,
  dtype: BaseDtype,
): Exclude<BaseDtype, 'auto'> {
  if (dtype !== 'auto') return dtype
  return bits === 16 && 4 * baseLayout(config).size >= SMALL_BASE_BYTES ? 'float16' : 'float32'
}

/** How each array of a base is kept, by name. */
export function baseStorage(
  base: Pick<BaseModel, 'config' | 'bits'>,
  dtype: BaseDtype,
): Map<string, Storage | undefined> {
  const type = settledDtype(base, dtype)
  return new Map(
    baseLayout(base.config).entries.map(({ name, outputs: axis }) => [
      name,
      axis === undefined || type === 'float32' ? undefined : type === 'int8' ? { type, axis } : { type },
    ]),
  )
}

/** Puts the base into engine memory, where every step reads the same arrays. */
export function placeBase(engine: Engine, base: BaseModel, dtype: BaseDtype = 'auto'): void {
  const storage = baseStorage(base, dtype)
  for (const { name, shape, values } of base.arrays)
    engine.place(baseArray(name), { shape, dtype: 'float32', values }, { storage: storage.get(name) })
}

export async function createTrainer(
  engine: Engine,
  base: BaseModel,
  data: { readonly train: TokenSet; readonly valid: TokenSet },
  options: TrainerOptions,
): Promise<Trainer> {
  const { mixture, batch, context } = options
  const layout = trainedLayout(base.config, mixture)
  const shape: StepShape = { model: base.config, mixture, layout, batch, context, balance: options.balance }
  const groups = [
    { key: EXPERTS, layout: layout.experts },
    { key: ROUTER, layout: layout.router },
  ].filter((group) => group.layout.size > 0)
  let counters: TrainerCounters = { expertSteps: 0, routerSteps: 0, plateau: NO_PLATEAU }

  const place = (key: string, values: Float32Array) =>
    engine.place(key, { shape: [values.length], dtype: 'float32', values })
  for (const group of groups) {
    place(group.key, initialValues(group.layout, layout, options))
    for (const moment of moments(group.key)) place(moment, new Float32Array(group.layout.size))
  }

  const program = lazily(engine)
  const experts = program(() => expertStep(shape))
  const routers = program(() => routerStep(shape))
  const evaluation = program(() => evaluationStep(shape))

  /** Runs steps of one kind; on a bad loss puts the group back as it was. */
  const phase = async (
    key: typeof EXPERTS | typeof ROUTER,
    steps: number,
    done: number,
    next: (step: number) => Batch,
    rate: (step: number) => number,
  ): Promise<PhaseResult> => {
    const compiled = await (key === EXPERTS ? experts : routers)()
    const phaseName = key === EXPERTS ? 'expert' : 'router'
    const before = await Promise.all(
      [key, ...moments(key)].map(async (name) => ({ name, values: await engine.read(name) })),
    )
    let sum = 0
    const scores: number[] = []
    for (let i = 0; i < steps; i++) {
      const step = done + i
      const inputs = { ...next(step), ...optimiserInputs(step, rate(step), options.weightDecay) }
      const { loss, scores: routed } = await compiled.run(inputs)
      if (!Number.isFinite(loss![0])) {
        for (const { name, values } of before) place(name, values)
        throw new ModelError({ code: 'LOSS_NON_FINITE', phase: phaseName, step })
      }
      sum += loss![0]!
      routed?.forEach((score, j) => (scores[j] = (scores[j] ?? 0) + score / steps))
    }
    if (!(await engine.read(key)).every(Number.isFinite)) {
      for (const { name, values } of before) place(name, values)
      throw new ModelError({ code: 'LOSS_NON_FINITE', phase: phaseName, step: done + steps - 1 })
    }
    return {
      steps,
      loss: sum / steps,
      tokens: steps * batch * context,
      learningRate: rate(done + steps - 1),
      routerScores: rows(scores, mixture.experts),
    }
  }

  return {
    layout,
    get counters() {
      return counters
    },

    async trainExperts(steps) {
      const rate = (step: number) => learningRate(options.schedule, step) * counters.plateau.factor
      const next = (step: number) =>
        randomBatch(data.train, batch, context, stream(options.seed, 'train', step))
      const result = await phase(EXPERTS, steps, counters.expertSteps, next, rate)
      counters = { ...counters, expertSteps: counters.expertSteps + steps }
      return result
    },

    async trainRouters(steps) {
      if (layout.router.size === 0) return undefined
      const next = (step: number) =>
        randomBatch(data.valid, batch, context, stream(options.seed, 'valid', step))
      const result = await phase(ROUTER, steps, counters.routerSteps, next, () => options.routerRate)
      counters = { ...counters, routerSteps: counters.routerSteps + steps }
      return result
    },

    async evaluate(set, maxBatches, onShare) {
      const of = { batch, context, experts: mixture.experts }
      return evaluate(await evaluation(), set, of, maxBatches, onShare)
    },

    async shared() {
      return (await engine.read(EXPERTS)).slice(0, layout.sharedSize)
    },

    async addShared(increment) {
      if (increment.length !== layout.sharedSize) {
        throw new ModelError({
          code: 'SHAPE_MISMATCH',
          what: 'increment of the shared parameters',
          expected: `[${layout.sharedSize}]`,
          actual: `[${increment.length}]`,
        })
      }
      const values = await engine.read(EXPERTS)
      for (let i = 0; i < increment.length; i++) values[i]! += increment[i]!
      place(EXPERTS, values)
    },

    observeValidation(loss) {
      if (options.schedule.kind === 'constant')
        counters = { ...counters, plateau: observePlateau(counters.plateau, loss) }
    },

    async save() {
      const arrays: NamedArray[] = []
      for (const group of groups) {
        for (const key of [group.key, ...moments(group.key)]) {
          for (const array of namedArrays(group.layout, await engine.read(key))) {
            arrays.push({ ...array, name: `${key}/${array.name}` })
          }
        }
      }
      return { counters, arrays }
    },

    restore(state, path) {
      const found: [string, Float32Array][] = []
      for (const { key: group, layout } of groups) {
        for (const key of [group, ...moments(group)]) {
          const flat = new Float32Array(layout.size)
          layoutArrays(layout, state.arrays, { prefix: `${key}/`, path }).forEach(({ values }, i) =>
            flat.set(values, layout.entries[i]!.offset),
          )
          found.push([key, flat])
        }
      }
      for (const [key, flat] of found) place(key, flat)
      counters = state.counters
    },

    dispose() {
      for (const compiled of [experts, routers, evaluation]) compiled.dispose()
      for (const group of groups) for (const key of [group.key, ...moments(group.key)]) engine.remove(key)
    },
  }
}

/** Shared arrays from the federation's seed, the rest from the peer's. */
function initialValues(
  layout: Layout,
  all: TrainedLayout,
  { sharedSeed, seed }: TrainerOptions,
): Float32Array {
  const values = initialise(layout, seed)
  if (layout === all.experts) values.set(initialShared(all, sharedSeed))
  return values
}

/** Where every copy of the shared parameters starts: y(0) of the protocol. Equal, bit for bit, on every machine. */
export function initialShared(layout: TrainedLayout, sharedSeed: number): Float32Array {
  return initialise(layout.experts, sharedSeed).slice(0, layout.sharedSize)
}

export function optimiserInputs(step: number, rate: number, weightDecay: number): Record<string, HostArray> {
  return {
    learningRate: Float32Array.of(rate),
    correction: Float32Array.of(1 / (1 - ADAMW.beta1 ** (step + 1)), 1 / (1 - ADAMW.beta2 ** (step + 1))),
    decay: Float32Array.of(weightDecay),
  }
}

export interface LazyProgram {
  (): Promise<Program>
  dispose(): void
}

/** Compiles on first use; a peer that never evaluates never pays for it. */
export function lazily(engine: Engine): (step: () => Step) => LazyProgram {
  return (step) => {
    let compiled: Promise<Program> | undefined
    const get = () => (compiled ??= engine.compile(step()))
    return Object.assign(get, { dispose: () => void compiled?.then((program) => program.dispose()) })
  }
}
