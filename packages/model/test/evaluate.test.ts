import { describe, expect, it } from 'vitest'
import type { BaseModel } from '../src/base.ts'
import { sweep, type TokenSet } from '../src/data.ts'
import type { Engine } from '../src/engine/engine.ts'
import { evaluate, evaluateTogether, windowLosses } from '../src/evaluate.ts'
import { evaluationStep, NO_EXPERTS } from '../src/steps.ts'
import { createTrainer, placeBase } from '../src/trainer.ts'
import { baseLayout, initialise, namedArrays } from '../src/parameters.ts'
import { expectClose } from './helpers/compare.ts'
import { compiled, freshEngine } from './helpers/engines.ts'
import {
  baseOf,
  DATA,
  mixtureOf,
  shapeOf,
  TINY,
  tinyBase,
  tinyOptions,
  tinyTrainer,
  tokenSet,
} from './helpers/models.ts'
import { nextTokenStep } from './helpers/next-token.ts'
import { fc } from './helpers/properties.ts'

/** A program that evaluates the base alone. */
async function baseProgram(engine: Engine, batch: number, context: number) {
  placeBase(engine, tinyBase())
  return compiled(engine, evaluationStep({ ...shapeOf(NO_EXPERTS), batch, context }))
}

const setOf = (tokens: Int32Array, ...borders: number[]): TokenSet => ({
  tokens,
  groups: [0, ...borders].map((from, i) => ({ name: `group ${i}`, from, to: borders[i] ?? tokens.length })),
})

describe('sweep', () => {
  const shapes = {
    length: fc.integer({ min: 0, max: 200 }),
    batch: fc.integer({ min: 1, max: 5 }),
    context: fc.integer({ min: 1, max: 20 }),
  }

  it('makes every token but the first a target exactly once, in order', () => {
    fc.assert(
      fc.property(shapes.length, shapes.batch, shapes.context, (length, batch, context) => {
        const tokens = Int32Array.from({ length }, (_, i) => i)
        const targets = sweep(tokens, batch, context)
          .map((make) => make())
          .flatMap((one) => [...one.targets].filter((_, i) => one.weights[i] === 1))
        expect(targets).toEqual([...tokens.subarray(1)])
      }),
    )
  })

  it('gives each target the token before it, and weighs nothing else', () => {
    fc.assert(
      fc.property(shapes.length, shapes.batch, shapes.context, (length, batch, context) => {
        const tokens = Int32Array.from({ length }, (_, i) => i + 1)
        for (const make of sweep(tokens, batch, context)) {
          const one = make()
          const size = batch * context
          expect(one.count).toBeGreaterThan(0)
          const counted = Array.from({ length: size }, (_, i) => Number(i < one.count))
          expect([...one.weights]).toEqual(counted)
          expect(one.tokens.length).toBe(size)
          expect([...one.targets]).toEqual([...one.tokens].map((token, i) => counted[i]! * (token + 1)))
        }
      }),
    )
  })
})

describe('evaluate', () => {
  it('has the perplexity that logits show, window by window', async () => {
    const context = 7
    const set = setOf(DATA.valid.tokens.slice(0, 40))
    const engine = await freshEngine('onnx')
    placeBase(engine, tinyBase())
    const next = await compiled(engine, nextTokenStep({ ...shapeOf(NO_EXPERTS), context }))
    let nll = 0
    for (let i = 1; i < set.tokens.length; i++) {
      const start = Math.floor((i - 1) / context) * context
      const tokens = new Int32Array(context)
      tokens.set(set.tokens.subarray(start, i))
      const { logits } = await next.run({ tokens, position: Int32Array.of(i - 1 - start) })
      const total = logits!.reduce((sum, logit) => sum + Math.exp(logit), 0)
      nll += Math.log(total) - logits![set.tokens[i]!]!
    }
    const program = await baseProgram(engine, 2, context)
    const result = await evaluate(program, set, { batch: 2, context, experts: 0 })
    expect(result.tokens).toBe(39)
    expectClose([result.loss, result.perplexity], [nll / 39, Math.exp(nll / 39)], { relative: 1e-6 })
  })

  it('does not depend on how windows are batched', async () => {
    const engine = await freshEngine('onnx')
    const losses: number[] = []
    for (const batch of [1, 2, 5]) {
      const program = await baseProgram(engine, batch, 8)
      losses.push((await evaluate(program, DATA.valid, { batch, context: 8, experts: 0 })).loss)
    }
    expectClose(
      losses,
      losses.map(() => losses[0]!),
      { relative: 1e-6 },
    )
  })

  it('tells after each batch how much is done, and ends with what the listener throws', async () => {
    const program = await baseProgram(await freshEngine('onnx'), 2, 8)
    const shape = { batch: 2, context: 8, experts: 0 }
    const told: number[] = []
    await evaluate(program, DATA.valid, shape, 4, (share) => told.push(share))
    expect(told).toEqual([0.25, 0.5, 0.75, 1])
    const stopped = evaluate(program, DATA.valid, shape, 4, (share) => {
      told.push(share)
      throw new Error('enough')
    })
    await expect(stopped).rejects.toThrow('enough')
    expect(told).toHaveLength(5)
  })

  it('finds about ln V in a model that has learnt nothing', async () => {
    const engine = await freshEngine('onnx')
    const layout = baseLayout(TINY)
    const base = baseOf(TINY, namedArrays(layout, initialise(layout, 1)))
    placeBase(engine, base)
    const trainer = await createTrainer(engine, base, DATA, tinyOptions(mixtureOf(2)))
    expect(Math.abs((await trainer.evaluate(DATA.valid)).loss - Math.log(TINY.vocabSize))).toBeLessThan(0.05)
  })

  it('reports groups as if each were alone, and the whole as their mean by tokens', async () => {
    const engine = await freshEngine('onnx')
    const shape = { batch: 2, context: 8, experts: 0 }
    const program = await baseProgram(engine, 2, 8)
    const { tokens } = DATA.valid
    const result = await evaluate(program, setOf(tokens, 20, 90), shape)
    expect(result.groups.map(({ name, tokens }) => [name, tokens])).toEqual([
      ['group 0', 19],
      ['group 1', 69],
      ['group 2', 109],
    ])
    for (const [i, part] of [tokens.slice(0, 20), tokens.slice(20, 90), tokens.slice(90)].entries()) {
      const alone = await evaluate(program, setOf(part), shape)
      const { loss, perplexity } = result.groups[i]!
      expectClose([loss, perplexity], [alone.loss, alone.perplexity], { relative: 1e-9 })
    }
    expect(result.tokens).toBe(197)
    const sum = result.groups.reduce((total, { loss, tokens }) => total + loss * tokens, 0)
    expectClose([result.loss, result.perplexity], [sum / 197, Math.exp(sum / 197)], { relative: 1e-9 })
  })

  it('leaves out groups that hold no target', async () => {
    const program = await baseProgram(await freshEngine('onnx'), 2, 8)
    const set = setOf(DATA.valid.tokens.slice(0, 30), 0, 1)
    const result = await evaluate(program, set, { batch: 2, context: 8, experts: 0 })
    expect(result.groups.map(({ name }) => name)).toEqual(['group 2'])
    expect(result.tokens).toBe(28)
  })

  it('takes at most so many batches, spread over the set', async () => {
    const program = await baseProgram(await freshEngine('onnx'), 1, 8)
    const shape = { batch: 1, context: 8, experts: 0 }
    const set = setOf(tokenSet('long', 8 * 10 + 1).tokens)
    expect((await evaluate(program, set, shape, 3)).tokens).toBe(24)
    expect((await evaluate(program, set, shape, 10)).tokens).toBe(80)
    expect((await evaluate(program, set, shape, 11)).tokens).toBe(80)
    const chosen = [1, 5, 8].map((batch) => set.tokens.subarray(batch * 8, batch * 8 + 9))
    const losses = await Promise.all(
      chosen.map(async (tokens) => (await evaluate(program, setOf(tokens), shape)).loss),
    )
    const mean = losses.reduce((sum, loss) => sum + loss, 0) / 3
    expectClose([(await evaluate(program, set, shape, 3)).loss], [mean], { relative: 1e-6 })
  })

  it('reports mean router scores that sum to 1', async () => {
    const trainer = await tinyTrainer(await freshEngine('onnx'), mixtureOf(4))
    const { routerScores } = await trainer.evaluate(DATA.valid)
    expect(routerScores.map((layer) => layer.length)).toEqual([4, 4])
    for (const layer of routerScores)
      expectClose([layer.reduce((sum, x) => sum + x, 0)], [1], { absolute: 1e-5 })
  })

  it('counts no padding in the router scores', async () => {
    const engine = await freshEngine('onnx')
    const seventeen = setOf(DATA.valid.tokens.slice(0, 17))
    const narrow = await tinyTrainer(engine, mixtureOf(2), { batch: 1 })
    await narrow.trainRouters(3)
    const state = await narrow.save()
    const alone = await narrow.evaluate(seventeen)
    const wide = await tinyTrainer(engine, mixtureOf(2), { batch: 4 })
    wide.restore(state, 'saved')
    const padded = await wide.evaluate(seventeen)
    expectClose([padded.loss], [alone.loss], { relative: 1e-6 }, 'loss')
    expectClose(padded.routerScores.flat(), alone.routerScores.flat(), { absolute: 1e-5 }, 'scores')
  })

  it('weighs the router scores of every token the same, in a last batch that is not full too', async () => {
    const trainer = await tinyTrainer(await freshEngine('onnx'), mixtureOf(2), { batch: 1 })
    await trainer.trainRouters(3)
    const { tokens } = DATA.valid
    const scores = async (from: number, to: number) =>
      (await trainer.evaluate(setOf(tokens.slice(from, to)))).routerScores.flat()
    const [first, second] = [await scores(0, 17), await scores(16, 33)]
    expectClose(
      await scores(0, 33),
      first.map((score, i) => (score + second[i]!) / 2),
      { absolute: 1e-6 },
    )
    const quarter = await scores(16, 21)
    expectClose(
      await scores(0, 21),
      first.map((score, i) => (16 * score + 4 * quarter[i]!) / 20),
      { absolute: 1e-6 },
    )
  })
})

describe('several models as one', () => {
  const context = 7
  const set = setOf(DATA.valid.tokens.slice(0, 60), 25)
  /** Two bases that disagree. */
  const bases = [
    tinyBase(),
    baseOf(
      TINY,
      tinyBase().arrays.map((array) => ({ ...array, values: array.values.map((value) => 2 * value) })),
    ),
  ]
  const engineOf = async (base: BaseModel) => {
    const engine = await freshEngine('onnx')
    placeBase(engine, base)
    return engine
  }
  const lossesOf = async (base: BaseModel, batch: number, maxBatches?: number) => {
    const shape = { ...shapeOf(NO_EXPERTS), batch: 1, context }
    const program = await compiled(await engineOf(base), evaluationStep(shape))
    return windowLosses(program, set, { batch, context }, maxBatches)
  }
  const both = (batch: number, maxBatches?: number) =>
    Promise.all(bases.map((base) => lossesOf(base, batch, maxBatches)))

  /** Negative log-probability of each target, by group, from logits. */
  async function tokenLosses(base: BaseModel): Promise<number[][]> {
    const next = await compiled(await engineOf(base), nextTokenStep({ ...shapeOf(NO_EXPERTS), context }))
    const groups: number[][] = []
    for (const { from, to } of set.groups) {
      const text = set.tokens.subarray(from, to)
      const nlls: number[] = []
      for (let i = 1; i < text.length; i++) {
        const start = Math.floor((i - 1) / context) * context
        const tokens = new Int32Array(context)
        tokens.set(text.subarray(start, i))
        const { logits } = await next.run({ tokens, position: Int32Array.of(i - 1 - start) })
        nlls.push(Math.log(logits!.reduce((sum, logit) => sum + Math.exp(logit), 0)) - logits![text[i]!]!)
      }
      groups.push(nlls)
    }
    return groups
  }

  it('weigh each next token by how well they have done in the window so far', async () => {
    const [first, second] = await Promise.all(bases.map(tokenLosses))
    const groups = set.groups.map((_, group) => {
      let nll = 0
      let odds = 1
      for (const [i, a] of first![group]!.entries()) {
        const b = second![group]![i]!
        if (i % context === 0) odds = 1
        const weight = odds / (1 + odds)
        nll -= Math.log(weight * Math.exp(-a) + (1 - weight) * Math.exp(-b))
        odds *= Math.exp(b - a)
      }
      return nll / first![group]!.length
    })
    const result = evaluateTogether(set, await both(2))
    expectClose(
      result.groups.map(({ loss }) => loss),
      groups,
      { relative: 1e-5 },
    )
  })

  it('are one model when there is one', async () => {
    const losses = await lossesOf(bases[0]!, 2)
    const program = await baseProgram(await freshEngine('onnx'), 2, context)
    const expected = await evaluate(program, set, { batch: 2, context, experts: 0 })
    const result = evaluateTogether(set, [losses])
    expect(result.tokens).toBe(expected.tokens)
    expectClose(
      result.groups.map(({ loss }) => loss),
      expected.groups.map(({ loss }) => loss),
      { relative: 1e-6 },
    )
  })

  it('cost at most ln 2 nats a window more than the best of two', async () => {
    const losses = await both(2)
    const nll = (which: typeof losses) => {
      const { loss, tokens } = evaluateTogether(set, which)
      return loss * tokens
    }
    const alone = losses.map((one) => nll([one]))
    expect(nll(losses)).toBeLessThanOrEqual(Math.min(...alone) + losses[0]!.length * Math.LN2)
    expect(Math.abs(alone[0]! - alone[1]!)).toBeGreaterThan(1)
    expectClose([nll([losses[0]!, losses[0]!])], [alone[0]!], { relative: 1e-9 })
  })

  it('take the batches that one model alone is measured on', async () => {
    const losses = await lossesOf(bases[0]!, 2, 2)
    const program = await baseProgram(await freshEngine('onnx'), 2, context)
    const expected = await evaluate(program, set, { batch: 2, context, experts: 0 }, 2)
    expectClose([evaluateTogether(set, [losses]).loss], [expected.loss], { relative: 1e-6 })
  })
})
