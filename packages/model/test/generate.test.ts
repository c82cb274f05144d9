import { describe, expect, it } from 'vitest'
import type { ModelConfig } from '../src/config.ts'
import type { Engine, Program } from '../src/engine/engine.ts'
import { generate, type GeneratedToken, type GenerateOptions, sample } from '../src/generate.ts'
import { baseLayout, type NamedArray, namedArrays } from '../src/parameters.ts'
import { fillNormal, stream } from '../src/random.ts'
import { nextTokenStep, NO_EXPERTS } from '../src/steps.ts'
import { placeBase } from '../src/trainer.ts'
import { compiled, freshEngine } from './helpers/engines.ts'
import { baseOf, mixtureOf, shapeOf, TINY, tinyBase, tinyTrainer } from './helpers/models.ts'
import { baseTokenizer } from './helpers/tokenizers.ts'

const tokenizer = await baseTokenizer()
const MODEL: ModelConfig = { ...TINY, vocabSize: tokenizer.size, positions: 64 }
const CONTEXT = 12

async function allOf(tokens: AsyncGenerator<GeneratedToken>): Promise<GeneratedToken[]> {
  const all: GeneratedToken[] = []
  for await (const token of tokens) all.push(token)
  return all
}

const options = (overrides: Partial<GenerateOptions> = {}): GenerateOptions => ({
  maxTokens: 10,
  temperature: 1,
  random: stream(1, 'sample'),
  ...overrides,
})

/** A random base, ready to continue things. */
async function randomProgram(context = CONTEXT): Promise<{ engine: Engine; program: Program }> {
  const engine = await freshEngine('onnx')
  placeBase(engine, tinyBase(MODEL))
  return { engine, program: await nextProgram(engine, context) }
}

const nextProgram = (engine: Engine, context: number, model: ModelConfig = MODEL) =>
  compiled(engine, nextTokenStep({ ...shapeOf(NO_EXPERTS, model), context }))

const run = (program: Program, prompt: string, overrides: Partial<GenerateOptions> = {}, context = CONTEXT) =>
  allOf(generate(program, tokenizer, { ...MODEL, experts: 0 }, context, prompt, options(overrides)))

const idsOf = (tokens: readonly GeneratedToken[]) => tokens.map(({ id }) => id)

describe('generate', () => {
  it('draws the same tokens from the same seed, and others from another', async () => {
    const { program } = await randomProgram()
    const drawn = async (seed: number) =>
      idsOf(await run(program, 'Once', { random: stream(seed, 'sample') }))
    expect(await drawn(1)).toEqual(await drawn(1))
    expect(await drawn(1)).not.toEqual(await drawn(2))
  })

  it.each([
    ['shorter than the context', 'Once'],
    [
      'longer than the context',
      'Once upon a time there was a model that could not remember how it all began.',
    ],
  ])(
    'at temperature 0 takes the likeliest token of a whole forward pass, after a prompt %s',
    async (_, prompt) => {
      const { engine, program } = await randomProgram()
      const made = idsOf(await run(program, prompt, { temperature: 0, maxTokens: 5 }))
      const ids = [...tokenizer.encode(prompt)]
      const expected: number[] = []
      for (let i = 0; i < 5; i++) {
        const window = ids.slice(-CONTEXT)
        const whole = await nextProgram(engine, window.length)
        const { logits } = await whole.run({
          tokens: Int32Array.from(window),
          position: Int32Array.of(window.length - 1),
        })
        const best = [...logits!.keys()].reduce((a, b) => (logits![b]! > logits![a]! ? b : a))
        expected.push(best)
        ids.push(best)
      }
      expect(made).toEqual(expected)
    },
  )

  it('at temperature 0 draws nothing at random', async () => {
    const { program } = await randomProgram()
    const drawn = async (seed: number) =>
      idsOf(await run(program, 'Once', { temperature: 0, random: stream(seed, 'sample') }))
    expect(await drawn(1)).toEqual(await drawn(2))
  })

  it('makes as many tokens as it is told to, and none when told so', async () => {
    const { program } = await randomProgram()
    expect(await run(program, 'Once', { maxTokens: 7 })).toHaveLength(7)
    expect(await run(program, 'Once', { maxTokens: 0 })).toEqual([])
  })

  it('starts a document when the prompt is empty', async () => {
    const { program } = await randomProgram()
    const greedy = { temperature: 0, maxTokens: 3 }
    expect(await run(program, '', greedy)).toEqual(await run(program, '<|endoftext|>', greedy))
  })

  it('stops when it is asked to', async () => {
    const { program } = await randomProgram()
    const controller = new AbortController()
    const seen: number[] = []
    const tokens = generate(
      program,
      tokenizer,
      { ...MODEL, experts: 0 },
      CONTEXT,
      'Once',
      options({ signal: controller.signal }),
    )
    for await (const { id } of tokens) {
      seen.push(id)
      if (seen.length === 3) controller.abort()
    }
    expect(seen).toHaveLength(3)
  })

  it('shows the router scores of the position that chose a token', async () => {
    const engine = await freshEngine('onnx')
    const data = {
      train: { tokens: new Int32Array(30), groups: [] },
      valid: { tokens: new Int32Array(30), groups: [] },
    }
    await tinyTrainer(engine, mixtureOf(3), {}, { base: tinyBase(MODEL), data })
    const program = await compiled(
      engine,
      nextTokenStep({ ...shapeOf(mixtureOf(3), MODEL), context: CONTEXT }),
    )
    const tokens = await allOf(
      generate(program, tokenizer, { ...MODEL, experts: 3 }, CONTEXT, 'Once', options({ maxTokens: 2 })),
    )
    for (const { routerScores } of tokens) {
      expect(routerScores.map((layer) => layer.length)).toEqual([3, 3])
      for (const layer of routerScores) expect(layer.reduce((sum, score) => sum + score, 0)).toBeCloseTo(1, 5)
    }
    expect(tokens[0]!.routerScores).not.toEqual(tokens[1]!.routerScores)
  })
})

/**
 * A model that recites: what it says at position p is the p-th token of its script, whatever came before. Its layers add
 * nothing, its positions are far louder than its tokens and each is the embedding of what is to come.
 */
async function reciting(script: readonly number[]): Promise<Program> {
  const model: ModelConfig = { ...MODEL, width: 32, layers: 1 }
  const layout = baseLayout(model)
  const arrays = namedArrays(layout, new Float32Array(layout.size))
  const named = (name: string) => arrays.find((array) => array.name === name)!.values
  named('ln_f.weight').fill(1)
  const wte = named('wte.weight')
  fillNormal(wte, 1, stream(5, 'wte'))
  for (let row = 0; row < model.vocabSize; row++) standardise(wte.subarray(row * 32, (row + 1) * 32))
  const wpe = named('wpe.weight')
  script.forEach((token, p) => {
    for (let c = 0; c < 32; c++) wpe[p * 32 + c] = 1000 * wte[token * 32 + c]!
  })
  const engine = await freshEngine('onnx')
  placeBase(engine, baseOf(model, arrays satisfies readonly NamedArray[]))
  return nextProgram(engine, model.positions, model)
}

/** Mean 0, length 1: none of these is closer to another than to itself. */
function standardise(row: Float32Array): void {
  const mean = row.reduce((sum, x) => sum + x, 0) / row.length
  for (let c = 0; c < row.length; c++) row[c]! -= mean
  const length = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0))
  for (let c = 0; c < row.length; c++) row[c]! /= length
}

/** What the model says after a prompt of one token, when its script is this. */
async function recited(script: readonly number[], maxTokens = 60): Promise<GeneratedToken[]> {
  const program = await reciting(script)
  return run(program, '', { temperature: 0, maxTokens }, MODEL.positions)
}

const end = tokenizer.endOfText
const bytesOf = (text: string) => [...tokenizer.encode(text)]

describe('generated text', () => {
  it('ends where the document ends, without its end', async () => {
    const said = await recited([...bytesOf('The end.'), end, ...bytesOf(' More')])
    expect(said.map(({ text }) => text).join('')).toBe('The end.')
    expect(idsOf(said)).toEqual(bytesOf('The end.'))
  })

  it('is nothing when the document ends at once', async () => {
    expect(await recited([end])).toEqual([])
  })

  it('never shows a part of a character', async () => {
    const text = 'a é 🙂👩‍👩‍👧 żółw 你好 done'
    const script = bytesOf(text)
    expect(script.length).toBeGreaterThan(Array.from(text).length)
    const said = await recited([...script, end])
    expect(idsOf(said)).toEqual(script)
    for (const piece of said) expect(Buffer.from(piece.text).toString()).toBe(piece.text)
    expect(said.filter((piece) => piece.text.includes('\ufffd'))).toEqual([])
    expect(said.map((piece) => piece.text).join('')).toBe(text)
  })

  it('leaves out a character that it had no room to finish', async () => {
    const script = bytesOf('a🙂')
    const said = await recited([...script, end], script.length - 1)
    expect(said).toHaveLength(script.length - 1)
    expect(said.map(({ text }) => text).join('')).toBe('a')
  })

  it('shows bytes that are no character once it is clear that they are none', async () => {
    const [first] = bytesOf('🙂')
    const said = await recited([first!, ...bytesOf('abc'), end])
    expect(said.map(({ text }) => text).join('')).toBe(tokenizer.decode([first!, ...bytesOf('abc')]))
    expect(said[0]!.text).toBe('')
  })
})

describe('sample', () => {
  const logits = Float32Array.of(0, Math.log(2), -Infinity, Math.log(5))
  const shares = (temperature: number) => {
    const random = stream(9, 'sample')
    const counts = new Array<number>(4).fill(0)
    for (let i = 0; i < 8000; i++) counts[sample(logits, temperature, random)]!++
    return counts.map((count) => count / 8000)
  }

  it('draws in proportion to softmax', () => {
    for (const [i, share] of shares(1).entries())
      expect(Math.abs(share - [1 / 8, 2 / 8, 0, 5 / 8][i]!)).toBeLessThan(0.02)
  })

  it('draws more evenly when hot, and the best almost always when cold', () => {
    const [hot, cold] = [shares(4), shares(0.1)]
    const weights = [1, 2 ** 0.25, 0, 5 ** 0.25]
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    for (const [i, share] of hot.entries()) expect(Math.abs(share - weights[i]! / total)).toBeLessThan(0.02)
    expect(cold[3]).toBeGreaterThan(0.99)
  })

  it('takes the first of the best at temperature 0', () => {
    expect(sample(Float32Array.of(1, 3, 3, 2), 0, stream(1, 'x'))).toBe(1)
  })

  it('stands logits of any size', () => {
    const random = stream(1, 'x')
    expect(sample(Float32Array.of(1e30, -1e30), 1, random)).toBe(0)
    expect(sample(Float32Array.of(-1e30, -1e30 / 2), 1e-3, random)).toBe(1)
  })
})
