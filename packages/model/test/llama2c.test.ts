import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { loadBase } from '../src/base.ts'
import { createDecoder } from '../src/decoder.ts'
import { generate } from '../src/generate.ts'
import { trainedLayout } from '../src/parameters.ts'
import { stream } from '../src/random.ts'
import { evaluationStep, NO_EXPERTS } from '../src/steps.ts'
import { loadTokenizer } from '../src/tokenizer.ts'
import { type BaseDtype, placeBase } from '../src/trainer.ts'
import { compiled, freshEngine } from './helpers/engines.ts'
import { folderOf } from './helpers/files.ts'

/** Folder with weights/stories260K.bin and weights/tok512.bin (karpathy/tinyllamas on the hub). */
const data = process.env['COMIGS_DATA']
const CONVERTER = fileURLToPath(new URL('../../../scripts/convert-llama2c.mjs', import.meta.url))

const STORY = `Once upon a time, there was a little girl named Lily. She loved to play outside in the park with her \
friends. One day, she saw a big red ball in the grass. Lily wanted to play with the ball, but a little boy had it. "Can I \
play with your ball?" she asked. The boy smiled and said, "Yes, let's play together!" They played all day and had a lot of \
fun. When it was time to go home, Lily said thank you to the boy. She was very happy to have a new friend.`

describe.skipIf(data === undefined)('stories260K, which others trained (needs COMIGS_DATA)', () => {
  async function converted() {
    const folder = await folderOf()
    const files = ['stories260K.bin', 'tok512.bin'].map((name) => join(data!, 'weights', name))
    execFileSync(process.execPath, [CONVERTER, ...files, folder])
    return { base: await loadBase(folder), tokenizer: await loadTokenizer(folder) }
  }

  async function bitsPerByte(dtype: BaseDtype): Promise<number> {
    const { base, tokenizer } = await converted()
    const targets = tokenizer.encode(STORY)
    expect(tokenizer.decode(targets)).toBe(STORY)
    const tokens = tokenizer.encodeDocument(STORY).subarray(0, -1)
    const engine = await freshEngine('onnx')
    placeBase(engine, base, dtype)
    const shape = { model: base.config, mixture: NO_EXPERTS, layout: trainedLayout(base.config, NO_EXPERTS) }
    const program = await compiled(engine, evaluationStep({ ...shape, batch: 1, context: tokens.length }))
    const weights = new Float32Array(tokens.length).fill(1)
    const { loss } = await program.run({ tokens, targets, weights })
    return loss![0]! / Math.LN2 / Buffer.byteLength(STORY)
  }

  it.each(['float32', 'float16', 'int8'] as const)('knows how stories go, in %s', async (dtype) => {
    // 3.4 if it took all its pieces for equally likely.
    expect(await bitsPerByte(dtype)).toBeCloseTo(0.41, 2)
  })

  it.each([
    ['', 'Once upon a time, there was a little girl named Lily. She loved to play outside in the park.'],
    ['Once upon a time,', ' there was a little girl named Lily. She loved to play outside in the park.'],
  ])('tells one, after %j', async (prompt, expected) => {
    const { base, tokenizer } = await converted()
    const engine = await freshEngine('onnx')
    placeBase(engine, base)
    const decoder = createDecoder(engine, base.config, NO_EXPERTS)
    const options = { maxTokens: 60, temperature: 0, random: stream(1, 'story') }
    let story = ''
    for await (const { text } of generate(decoder, tokenizer, prompt, options)) story += text
    expect(story.startsWith(expected)).toBe(true)
  })
})
