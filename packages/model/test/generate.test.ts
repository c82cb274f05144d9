import { describe, expect, it } from 'vitest'
import type { ModelConfig } from '../src/config.ts'
import { createDecoder, type Decoder, windowStart } from '../src/decoder.ts'
import { generate, type GeneratedToken, type GenerateOptions } from '../src/generate.ts'
import { baseLayout, type NamedArray, namedArrays } from '../src/parameters.ts'
import { fillNormal, stream } from '../src/random.ts'
import { NO_EXPERTS } from '../src/steps.ts'
import { placeBase } from '../src/trainer.ts'
import { compiled, freshEngine } from './helpers/engines.ts'
import { baseOf, mixtureOf, shapeOf, TINY, tinyBase, tinyTrainer } from './helpers/models.ts'
import { nextTokenStep, recomputed } from './helpers/next-token.ts'
import { baseTokenizer } from './helpers/tokenizers.ts'

const tokenizer = await baseTokenizer()
const MODEL: ModelConfig = { ...TINY, vocabSize: tokenizer.size, positions: 64 }
/** Full after a few tokens. */
const SHORT: ModelConfig = { ...MODEL, positions: 12 }

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
async function randomDecoder(model = SHORT): Promise<Decoder> {
  const engine = await freshEngine('onnx')
  placeBase(engine, tinyBase(model))
  return createDecoder(engine, model, NO_EXPERTS)
}

const run = (decoder: Decoder, prompt: string, overrides: Partial<GenerateOptions> = {}) =>
  allOf(generate(decoder, tokenizer, prompt, options(overrides)))

const idsOf = (tokens: readonly GeneratedToken[]) => tokens.map(({ id }) => id)

describe('generate', () => {
  it('draws the same tokens from the same seed, and others from another', async () => {
    const decoder = await randomDecoder()
    const drawn = async (seed: number) =>
      idsOf(await run(decoder, 'Once', { random: stream(seed, 'sample') }))
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
      const engine = await freshEngine('onnx')
      placeBase(engine, tinyBase(SHORT))
      const decoder = createDecoder(engine, SHORT, NO_EXPERTS)
      const whole = await compiled(
        engine,
        nextTokenStep({ ...shapeOf(NO_EXPERTS, SHORT), context: SHORT.positions }),
      )
      const made = idsOf(await run(decoder, prompt, { temperature: 0, maxTokens: 20 }))
      const ids = [...tokenizer.encode(prompt)]
      const expected: number[] = []
      for (let i = 0; i < 20; i++) {
        const { logits } = await recomputed(whole, ids, SHORT.positions)
        const best = [...logits!.keys()].reduce((a, b) => (logits![b]! > logits![a]! ? b : a))
        expected.push(best)
        ids.push(best)
      }
      expect(made).toEqual(expected)
      expect(windowStart(ids.length, SHORT.positions)).toBeGreaterThan(0)
    },
  )

  it('at temperature 0 draws nothing at random', async () => {
    const decoder = await randomDecoder()
    const drawn = async (seed: number) =>
      idsOf(await run(decoder, 'Once', { temperature: 0, random: stream(seed, 'sample') }))
    expect(await drawn(1)).toEqual(await drawn(2))
  })

  it('makes as many tokens as it is told to, and none when told so', async () => {
    const decoder = await randomDecoder()
    expect(await run(decoder, 'Once', { maxTokens: 7 })).toHaveLength(7)
    expect(await run(decoder, 'Once', { maxTokens: 0 })).toEqual([])
  })

  it('starts a document when the prompt is empty', async () => {
    const decoder = await randomDecoder()
    const greedy = { temperature: 0, maxTokens: 3 }
    expect(await run(decoder, '', greedy)).toEqual(await run(decoder, '<|endoftext|>', greedy))
  })

  it('stops when it is asked to', async () => {
    const decoder = await randomDecoder()
    const controller = new AbortController()
    const seen: number[] = []
    const tokens = generate(decoder, tokenizer, 'Once', options({ signal: controller.signal }))
    for await (const { id } of tokens) {
      seen.push(id)
      if (seen.length === 3) controller.abort()
    }
    expect(seen).toHaveLength(3)
  })

  it('says why it ended, on the last token only', async () => {
    const decoder = await randomDecoder()
    const finishes = (await run(decoder, 'Once', { maxTokens: 4 })).map(({ finish }) => finish)
    expect(finishes).toEqual([undefined, undefined, undefined, 'length'])
  })

  it('tells the expert that the routers trusted, mean over layers', async () => {
    const engine = await freshEngine('onnx')
    const data = {
      train: { tokens: new Int32Array(30), groups: [] },
      valid: { tokens: new Int32Array(30), groups: [] },
    }
    await tinyTrainer(engine, mixtureOf(3), {}, { base: tinyBase(MODEL), data })
    const decoder = createDecoder(engine, MODEL, mixtureOf(3))
    const tokens = await allOf(generate(decoder, tokenizer, 'Once', options({ maxTokens: 2 })))
    const { routerScores } = await decoder.open().append(tokenizer.encode('Once'))
    const mean = [0, 1, 2].map((e) => (routerScores[0]![e]! + routerScores[1]![e]!) / 2)
    expect(tokens[0]!.routing).toEqual({ expert: mean.indexOf(Math.max(...mean)), scores: mean })
    expect(mean.reduce((sum, score) => sum + score, 0)).toBeCloseTo(1, 5)
    expect(tokens[1]!.routing).not.toEqual(tokens[0]!.routing)
  })

  it('tells no expert where there are none', async () => {
    const [token] = await run(await randomDecoder(), 'Once', { maxTokens: 1 })
    expect(token!.routing).toBeUndefined()
  })
})

/**
 * A model that recites: what it says at position p is the p-th token of its script, whatever came before. Its layers add
 * nothing, its positions are far louder than its tokens and each is the embedding of what is to come.
 */
async function reciting(script: readonly number[]): Promise<Decoder> {
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
  return createDecoder(engine, model, NO_EXPERTS)
}

/** Mean 0, length 1: none of these is closer to another than to itself. */
function standardise(row: Float32Array): void {
  const mean = row.reduce((sum, x) => sum + x, 0) / row.length
  for (let c = 0; c < row.length; c++) row[c]! -= mean
  const length = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0))
  for (let c = 0; c < row.length; c++) row[c]! /= length
}

/** What the model says after a prompt of one token, when its script is this. */
async function recited(
  script: readonly number[],
  overrides: Partial<GenerateOptions> = {},
): Promise<GeneratedToken[]> {
  return run(await reciting(script), '', { temperature: 0, maxTokens: 60, ...overrides })
}

const textOf = (tokens: readonly GeneratedToken[]) => tokens.map(({ text }) => text).join('')
const end = tokenizer.endOfText
const bytesOf = (text: string) => [...tokenizer.encode(text)]

describe('generated text', () => {
  it('ends where the document ends, without its end', async () => {
    const said = await recited([...bytesOf('The end.'), end, ...bytesOf(' More')])
    expect(textOf(said)).toBe('The end.')
    expect(idsOf(said)).toEqual([...bytesOf('The end.'), end])
    expect(said.at(-1)!.finish).toBe('stop')
  })

  it('is nothing when the document ends at once', async () => {
    expect(await recited([end])).toEqual([{ id: end, text: '', routing: undefined, finish: 'stop' }])
  })

  it('never shows a part of a character', async () => {
    const text = 'a é 🙂👩‍👩‍👧 żółw 你好 done'
    const script = bytesOf(text)
    expect(script.length).toBeGreaterThan(Array.from(text).length)
    const said = await recited([...script, end])
    for (const piece of said) expect(Buffer.from(piece.text).toString()).toBe(piece.text)
    expect(said.filter((piece) => piece.text.includes('\ufffd'))).toEqual([])
    expect(textOf(said)).toBe(text)
  })

  it('leaves out a character that it had no room to finish', async () => {
    const script = bytesOf('a🙂')
    const said = await recited([...script, end], { maxTokens: script.length - 1 })
    expect(said).toHaveLength(script.length - 1)
    expect(textOf(said)).toBe('a')
  })

  it('shows bytes that are no character once it is clear that they are none', async () => {
    const [first] = bytesOf('🙂')
    const said = await recited([first!, ...bytesOf('abc'), end])
    expect(textOf(said)).toBe(tokenizer.decode([first!, ...bytesOf('abc')]))
    expect(said[0]!.text).toBe('')
  })

  it('stops before a stop sequence that several tokens make, and shows nothing of it', async () => {
    const script = bytesOf('One.\nUser: Two.')
    const said = await recited([...script, end], { stop: ['\nUser:', 'absent'] })
    expect(textOf(said)).toBe('One.')
    expect(said.at(-1)!.finish).toBe('stop')
    expect(said.length).toBeGreaterThan(bytesOf('One.').length + 1)
    expect(said.length).toBeLessThan(script.length)
  })

  it('shows what only began like a stop sequence, when the end comes', async () => {
    const script = bytesOf('One.\nUse')
    for (const overrides of [{}, { maxTokens: script.length }])
      expect(textOf(await recited([...script, end], { ...overrides, stop: ['\nUser:'] }))).toBe('One.\nUse')
  })
})
