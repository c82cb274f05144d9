// The work that every competitor does: shapes, random weights, batches. Weights and text are random: speed does not depend
// on them.
import {
  baseLayout,
  DEFAULT_MIXTURE,
  expertStep,
  namedArrays,
  placeBase,
  routerStep,
  stream,
  trainedLayout,
} from '../../packages/model/dist/index.js'
import { ADAMW, EXPERTS, moments, ROUTER } from '../../packages/model/dist/steps.js'

const gpt2 = { architecture: 'gpt2', epsilon: 1e-5 }

/** `demo` is the shipped base, `gpt2` GPT-2 small. */
export const SHAPES = {
  demo: { ...gpt2, vocabSize: 4096, positions: 256, width: 256, layers: 4, heads: 4, hidden: 1024 },
  small: { ...gpt2, vocabSize: 4096, positions: 256, width: 128, layers: 4, heads: 4, hidden: 512 },
  gpt2: { ...gpt2, vocabSize: 50257, positions: 1024, width: 768, layers: 12, heads: 12, hidden: 3072 },
}

export const BATCH = 8
export const CONTEXT = 128

/** The paper's optimiser (appendix B); the rate stays where a schedule would begin. */
export const OPTIMISER = { rate: 2e-3, decay: 0.01 }

/** 1 generalist, 1 specialist: what the issue calls a step. */
export const workload = (model, changes = {}) => ({
  model,
  mixture: DEFAULT_MIXTURE,
  batch: BATCH,
  context: CONTEXT,
  ...changes,
})

/** Random values that repeat after a while: 124 million draws would take longer than the benchmark. */
function fillRandom(values, deviation, name) {
  const random = stream(1, name)
  const period = Float32Array.from({ length: Math.min(values.length, 65_537) }, () => {
    return deviation * Math.sqrt(3) * (2 * random.float() - 1)
  })
  for (let from = 0; from < values.length; from += period.length)
    values.set(period.subarray(0, Math.min(period.length, values.length - from)), from)
}

const DEVIATION = 0.02

/** Every array of a layout, none of it zero: B = 0 would leave half of the gradients zero. */
export function randomValues(layout) {
  const flat = new Float32Array(layout.size)
  for (const { name, init, offset, size } of layout.entries) {
    const values = flat.subarray(offset, offset + size)
    fillRandom(values, DEVIATION, name)
    if (init.kind === 'ones') for (let i = 0; i < size; i++) values[i] += 1
  }
  return flat
}

export function randomBase(model) {
  const layout = baseLayout(model)
  return { config: model, arrays: namedArrays(layout, randomValues(layout)), hashes: {} }
}

/** Batch k of the benchmark. */
export function randomBatch({ model, batch, context }, k) {
  const random = stream(2, 'batch', k)
  const draw = () => Int32Array.from({ length: batch * context }, () => random.below(model.vocabSize))
  return { tokens: draw(), targets: draw() }
}

/**
 * A step of CoMiGS on an engine, compiled at the first call of `run`.
 * @param kind - `expert` or `router`
 */
export function createSteps(engine, work) {
  const { model, mixture, batch, context } = work
  const layout = trainedLayout(model, mixture)
  const shape = { model, mixture, layout, batch, context, balance: 0.01 }
  placeBase(engine, randomBase(model))
  for (const [group, part] of [
    [EXPERTS, layout.experts],
    [ROUTER, layout.router],
  ]) {
    if (part.size === 0) continue
    const place = (name, values) => engine.place(name, { shape: [values.length], dtype: 'float32', values })
    place(group, randomValues(part))
    for (const moment of moments(group)) place(moment, new Float32Array(part.size))
  }
  const builders = { expert: expertStep, router: routerStep }
  const programs = new Map()
  const done = { expert: 0, router: 0 }
  return {
    /** Bytes that the engine holds by name. */
    memoryBytes: () => engine.memoryBytes(),
    /** One step. @returns its loss */
    async run(kind) {
      if (!programs.has(kind)) programs.set(kind, await engine.compile(builders[kind](shape)))
      const step = done[kind]++
      const { loss } = await programs.get(kind).run({
        ...randomBatch(work, step % 8),
        learningRate: Float32Array.of(OPTIMISER.rate),
        correction: Float32Array.of(1 / (1 - ADAMW.beta1 ** (step + 1)), 1 / (1 - ADAMW.beta2 ** (step + 1))),
        decay: Float32Array.of(OPTIMISER.decay),
      })
      return loss[0]
    },
  }
}
