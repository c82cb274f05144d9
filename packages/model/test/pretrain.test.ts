import { describe, expect, it } from 'vitest'
import type { ModelConfig } from '../src/config.ts'
import { baseLayout, initialise, namedArrays } from '../src/parameters.ts'
import { createPretrainer, type PretrainOptions } from '../src/pretrain.ts'
import { ADAMW, baseArray, evaluationStep, NO_EXPERTS } from '../src/steps.ts'
import { placeBase } from '../src/trainer.ts'
import { floats } from './helpers/arrays.ts'
import { expectClose, expectDifferent, expectSame } from './helpers/compare.ts'
import { compiled, freshEngine } from './helpers/engines.ts'
import { baseOf, DATA, shapeOf, TINY, tinyBase, tokenSet } from './helpers/models.ts'
import { refusal } from './helpers/refusals.ts'

const OPTIONS: PretrainOptions = {
  model: TINY,
  batch: 2,
  context: 16,
  steps: 20,
  rate: 1e-2,
  warmupSteps: 4,
  weightDecay: 0.1,
  seed: 3,
}

const pretrainerOf = async (overrides: Partial<PretrainOptions> = {}, data = DATA.train) =>
  createPretrainer(await freshEngine('onnx'), data, { ...OPTIONS, ...overrides })

/** Runs some steps and collects what is reported. */
async function progress(pretrainer: Awaited<ReturnType<typeof pretrainerOf>>, steps: number) {
  const seen: { step: number; loss: number; learningRate: number }[] = []
  await pretrainer.run(steps, (one) => seen.push(one))
  return seen
}

describe('a pretrainer', () => {
  it('starts at a loss of about ln V', async () => {
    const [first] = await progress(await pretrainerOf(), 1)
    expect(Math.abs(first!.loss - Math.log(TINY.vocabSize))).toBeLessThan(0.05)
  })

  it('learns one batch by heart', async () => {
    const one = tokenSet('one', OPTIONS.context + 1)
    const pretrainer = await pretrainerOf({ batch: 1, steps: 100, weightDecay: 0 }, one)
    const seen = await progress(pretrainer, 100)
    expect(seen.at(-1)!.loss).toBeLessThan(0.1)
    expect((await pretrainer.evaluate(one)).loss).toBeLessThan(0.1)
  })

  it('reports every step, and the rate: a line up, then a cosine down to a tenth', async () => {
    const seen = await progress(await pretrainerOf(), OPTIONS.steps)
    expect(seen.map(({ step }) => step)).toEqual(Array.from({ length: OPTIONS.steps }, (_, i) => i + 1))
    const rates = seen.map(({ learningRate }) => learningRate)
    expectClose(rates.slice(0, 5), [2.5e-3, 5e-3, 7.5e-3, 1e-2, 1e-2], { relative: 1e-9 })
    expectClose([rates[12]!], [5.5e-3], { relative: 1e-9 })
    expect(rates.at(-1)! / OPTIONS.rate).toBeGreaterThan(0.1)
    expect(rates.at(-1)! / OPTIONS.rate).toBeLessThan(0.12)
  })

  it('continues bit for bit from what it saved, in a new engine', async () => {
    const whole = await pretrainerOf()
    await progress(whole, 7)
    const state = await whole.save()
    const expected = await progress(whole, 6)

    const resumed = await pretrainerOf()
    resumed.restore(state, 'saved')
    expect(resumed.step).toBe(7)
    expect(await progress(resumed, 6)).toEqual(expected)
    const arrays = new Map((await resumed.save()).arrays.map(({ name, values }) => [name, values]))
    for (const { name, values } of (await whole.save()).arrays) expectSame(arrays.get(name)!, values, name)
  })

  it.each([
    ['more layers', { layers: TINY.layers + 1 }, /it has "base\/h\.2/],
    ['fewer layers', { layers: TINY.layers - 1 }, /it lacks "base\/h\.1/],
    ['another width', { width: 2 * TINY.width }, /it has "base\/wte.weight" of \[/],
    ['another context', { positions: TINY.positions + 1 }, /it has "base\/wpe.weight" of \[/],
  ])('refuses what was saved of a model of %s, and stays what it is', async (_, saved, reason) => {
    const state = await (await pretrainerOf({ model: { ...TINY, ...saved } })).save()
    const other = await pretrainerOf()
    const before = await other.save()
    const refused = await refusal(() => {
      other.restore({ ...state, step: 7 }, 'saved')
    })
    expect(refused).toMatchObject({ code: 'CHECKPOINT_INVALID', path: 'saved' })
    expect(refused).toHaveProperty('reason', expect.stringMatching(reason))
    expect(await other.save()).toEqual(before)
  })

  it('gives its parameters under the names of the base, which then computes the same', async () => {
    const pretrainer = await pretrainerOf()
    await progress(pretrainer, 3)
    const arrays = await pretrainer.arrays()
    expect(arrays.map(({ name, shape }) => ({ name, shape }))).toEqual(
      baseLayout(TINY).entries.map(({ name, shape }) => ({ name, shape })),
    )
    const engine = await freshEngine('cpu')
    placeBase(engine, baseOf(TINY, arrays))
    const { loss } = await evaluationOn(engine, TINY)
    const set = { tokens: DATA.valid.tokens.slice(0, 33), groups: [{ name: '', from: 0, to: 33 }] }
    expectClose(loss!, [32 * (await pretrainer.evaluate(set)).loss], { relative: 1e-5 })
  })

  it('decays matrices only', async () => {
    const without = await pretrainerOf({ weightDecay: 0 })
    const withDecay = await pretrainerOf({ weightDecay: 0.5 })
    for (const pretrainer of [without, withDecay]) await progress(pretrainer, 1)
    const other = new Map((await without.arrays()).map(({ name, values }) => [name, values]))
    for (const { name, shape, values } of await withDecay.arrays())
      (shape.length > 1 ? expectDifferent : expectSame)(values, other.get(name)!, name)
  })

  it('starts anew from the same seed, and elsewhere from another', async () => {
    const loss = async (seed: number) => (await progress(await pretrainerOf({ seed }), 2)).at(-1)!.loss
    expect(await loss(1)).toBe(await loss(1))
    expect(await loss(1)).not.toBe(await loss(2))
  })

  it('stops at a loss that is not finite, and says where', async () => {
    const pretrainer = await pretrainerOf({ rate: 1e38, warmupSteps: 0 })
    expect(await refusal(() => progress(pretrainer, 5))).toMatchObject({
      code: 'LOSS_NON_FINITE',
      phase: 'pretraining',
    })
  })
})

const evaluationInputs = {
  tokens: DATA.valid.tokens.slice(0, 32),
  targets: DATA.valid.tokens.slice(1, 33),
  weights: new Float32Array(32).fill(1),
}

/** Summed loss of the first 32 tokens, by the base that lies in the engine. */
async function evaluationOn(engine: Awaited<ReturnType<typeof freshEngine>>, model: ModelConfig) {
  const program = await compiled(engine, evaluationStep(shapeOf(NO_EXPERTS, model)))
  return program.run(evaluationInputs)
}

describe('the gradient of every parameter of the base', () => {
  const model: ModelConfig = { ...TINY, vocabSize: 13, width: 8, hidden: 12, layers: 1 }
  const base = tinyBase(model, 0.3)
  const tokens = evaluationInputs.tokens.map((token) => token % model.vocabSize)
  const targets = evaluationInputs.targets.map((token) => token % model.vocabSize)

  /** What the first moments show after one step from nothing, by array. */
  async function gradients(): Promise<Map<string, Float32Array>> {
    const engine = await freshEngine('cpu')
    // One batch, wherever it is drawn from: the set is just long enough.
    const set = { tokens: Int32Array.of(...tokens.subarray(0, 16), targets[15]!), groups: [] }
    const options = { ...OPTIONS, model, batch: 1 }
    const pretrainer = await createPretrainer(engine, set, options)
    const placed = new Float32Array(baseLayout(model).size)
    for (const [i, { values }] of namedArrays(baseLayout(model), placed).entries())
      values.set(base.arrays[i]!.values)
    engine.place('base', floats([placed.length], placed))
    await pretrainer.run(1, () => undefined)
    const { arrays } = await pretrainer.save()
    return new Map(
      arrays
        .filter(({ name }) => name.startsWith('base.first/'))
        .map(({ name, values }) => [
          name.slice('base.first/'.length),
          values.map((first) => first / (1 - ADAMW.beta1)),
        ]),
    )
  }

  const biggest = (values: Float32Array, count: number) =>
    [...values.keys()].sort((a, b) => Math.abs(values[b]!) - Math.abs(values[a]!)).slice(0, count)

  it('is what finite differences show', async () => {
    const analytic = await gradients()
    const engine = await freshEngine('cpu')
    placeBase(engine, base)
    const step = evaluationStep({ ...shapeOf(NO_EXPERTS, model), batch: 1 })
    const program = await compiled(engine, step)
    const loss = async () => {
      const weights = new Float32Array(16).fill(1)
      const batch = { tokens: tokens.subarray(0, 16), targets: targets.subarray(0, 16), weights }
      return (await program.run(batch))['loss']![0]! / 16
    }
    expect(analytic.size).toBe(base.arrays.length)
    for (const { name, shape, values } of base.arrays) {
      const gradient = analytic.get(name)!
      const chosen = biggest(gradient, 3)
      const slopes: number[] = []
      for (const i of chosen) {
        const at = async (by: number) => {
          const moved = values.slice()
          moved[i]! += by
          engine.place(baseArray(name), floats(shape, moved))
          return loss()
        }
        slopes.push(((await at(0.01)) - (await at(-0.01))) / 0.02)
      }
      engine.place(baseArray(name), floats(shape, values))
      expect(Math.abs(gradient[chosen[0]!]!), name).toBeGreaterThan(1e-3)
      expectClose(
        chosen.map((i) => gradient[i]!),
        slopes,
        { relative: 0.01, absolute: 2e-4 },
        name,
      )
    }
  })

  it('is zero for rows that no token asks for: the last position', async () => {
    const wpe = (await gradients()).get('wpe.weight')!
    expect(wpe.subarray(16 * model.width).every((value) => value === 0)).toBe(true)
    expect(wpe.subarray(15 * model.width, 16 * model.width).some((value) => value !== 0)).toBe(true)
  })
})

describe('the start of a base', () => {
  it('is that of GPT-2: residual projections smaller by the depth, gains 1, biases 0', () => {
    const layout = baseLayout({ ...TINY, width: 64, hidden: 256 })
    const deviation = (x: Float32Array) => Math.sqrt(x.reduce((sum, one) => sum + one * one, 0) / x.length)
    const spread = new Map(
      namedArrays(layout, initialise(layout, 1)).map(({ name, values }) => [name, deviation(values)]),
    )
    for (const [name, actual] of spread) {
      const [low, high] = expectedSpread(name)
      expect(actual, name).toBeGreaterThanOrEqual(low)
      expect(actual, name).toBeLessThanOrEqual(high)
    }
  })

  const expectedSpread = (name: string): [number, number] => {
    if (name.endsWith('bias')) return [0, 0]
    if (name.includes('ln_')) return [1, 1]
    const deviation = name.includes('c_proj') ? 0.02 / Math.sqrt(2 * TINY.layers) : 0.02
    return [0.95 * deviation, 1.05 * deviation]
  }
})
