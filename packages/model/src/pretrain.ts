import type { ModelConfig } from './config.ts'
import { randomBatch, type TokenSet } from './data.ts'
import type { Engine } from './engine/engine.ts'
import { ModelError } from './errors.ts'
import { evaluate, type Evaluation, type OnShare } from './evaluate.ts'
import { baseLayout, initialise, type NamedArray, namedArrays, trainedLayout } from './parameters.ts'
import { stream } from './random.ts'
import { ADAMW, BASE, baseArray, evaluationStep, moments, NO_EXPERTS, pretrainStep } from './steps.ts'

export interface PretrainOptions {
  readonly model: ModelConfig
  readonly batch: number
  readonly context: number
  readonly steps: number
  /** Peak learning rate; linear warm-up, then a cosine to a tenth of it. */
  readonly rate: number
  readonly warmupSteps: number
  readonly weightDecay: number
  readonly seed: number
}

export interface PretrainState {
  readonly step: number
  /** Parameters and moments: `base/…`, `base.first/…`, `base.second/…`. */
  readonly arrays: readonly NamedArray[]
}

export interface PretrainProgress {
  readonly step: number
  /** Of the last step, nats per token. */
  readonly loss: number
  readonly learningRate: number
}

/** Trains every parameter of a base model from scratch. Deterministic, and exact when resumed. */
export interface Pretrainer {
  readonly step: number
  run(steps: number, onStep: (progress: PretrainProgress) => void): Promise<void>
  evaluate(set: TokenSet, onShare?: OnShare): Promise<Evaluation>
  /** The parameters under Hugging Face's names. */
  arrays(): Promise<NamedArray[]>
  save(): Promise<PretrainState>
  /** @throws ModelError `CHECKPOINT_INVALID` when it is not this model's */
  restore(state: PretrainState, path: string): void
}

export async function createPretrainer(
  engine: Engine,
  train: TokenSet,
  options: PretrainOptions,
): Promise<Pretrainer> {
  const { model, batch, context } = options
  const layout = baseLayout(model)
  const keys = [BASE, ...moments(BASE)]
  const place = (key: string, values: Float32Array) =>
    engine.place(key, { shape: [values.length], dtype: 'float32', values })
  place(BASE, initialise(layout, options.seed))
  for (const key of moments(BASE)) place(key, new Float32Array(layout.size))

  const decay = new Float32Array(layout.size)
  for (const { shape, offset, size } of layout.entries) {
    if (shape.length > 1) decay.fill(options.weightDecay, offset, offset + size)
  }
  const program = await engine.compile(pretrainStep({ model, batch, context }))
  let step = 0
  let evaluation: ReturnType<Engine['compile']> | undefined

  const arrays = async () => namedArrays(layout, await engine.read(BASE))
  const placeArrays = async () => {
    for (const { name, shape, values } of await arrays())
      engine.place(baseArray(name), { shape, dtype: 'float32', values })
  }

  return {
    get step() {
      return step
    },

    async run(steps, onStep) {
      for (const end = step + steps; step < end; step++) {
        const rate = pretrainRate(options, step)
        const { tokens, targets } = randomBatch(train, batch, context, stream(options.seed, 'pretrain', step))
        const { loss } = await program.run({
          tokens,
          targets,
          decay,
          learningRate: Float32Array.of(rate),
          correction: Float32Array.of(
            1 / (1 - ADAMW.beta1 ** (step + 1)),
            1 / (1 - ADAMW.beta2 ** (step + 1)),
          ),
        })
        if (!Number.isFinite(loss![0]))
          throw new ModelError({ code: 'LOSS_NON_FINITE', phase: 'pretraining', step })
        onStep({ step: step + 1, loss: loss![0]!, learningRate: rate })
      }
    },

    async evaluate(set, onShare) {
      await placeArrays()
      const shape = { model, mixture: NO_EXPERTS, layout: trainedLayout(model, NO_EXPERTS), batch, context }
      evaluation ??= engine.compile(evaluationStep(shape))
      return evaluate(await evaluation, set, { batch, context, experts: 0 }, Infinity, onShare)
    },

    arrays,

    async save() {
      const saved: NamedArray[] = []
      for (const key of keys) {
        for (const array of namedArrays(layout, await engine.read(key)))
          saved.push({ ...array, name: `${key}/${array.name}` })
      }
      return { step, arrays: saved }
    },

    restore(state, path) {
      requireSameModel(
        state.arrays,
        keys.flatMap((key) => layout.entries.map(({ name, shape }) => ({ name: `${key}/${name}`, shape }))),
        path,
      )
      const byName = new Map(state.arrays.map((array) => [array.name, array.values]))
      for (const key of keys) {
        const flat = new Float32Array(layout.size)
        for (const { name, values } of namedArrays(layout, flat)) values.set(byName.get(`${key}/${name}`)!)
        place(key, flat)
      }
      step = state.step
    },
  }
}

/** These arrays and no others: all of a model of fewer layers would be found in one of more. */
function requireSameModel(
  saved: readonly NamedArray[],
  expected: readonly Pick<NamedArray, 'name' | 'shape'>[],
  path: string,
): void {
  const told = ({ name, shape }: Pick<NamedArray, 'name' | 'shape'>) => `"${name}" of [${shape.join(', ')}]`
  const [had, wanted] = [saved.map(told), expected.map(told)]
  const other = had.find((one) => !wanted.includes(one)) ?? wanted.find((one) => !had.includes(one))
  if (other === undefined) return
  const reason = `it is of a model of another shape: ${had.includes(other) ? 'it has' : 'it lacks'} ${other}`
  throw new ModelError({ code: 'CHECKPOINT_INVALID', path, reason })
}

function pretrainRate({ rate, warmupSteps, steps }: PretrainOptions, step: number): number {
  if (step < warmupSteps) return (rate * (step + 1)) / warmupSteps
  const progress = (step - warmupSteps) / Math.max(1, steps - warmupSteps)
  return rate * (0.1 + 0.45 * (1 + Math.cos(Math.PI * Math.min(1, progress))))
}
