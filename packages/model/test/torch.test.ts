import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { type BaseModel, loadBase } from '../src/base.ts'
import type { MixtureConfig } from '../src/config.ts'
import type { Engine, EngineName, Program } from '../src/engine/engine.ts'
import { type Layout, namedArrays, trainedLayout } from '../src/parameters.ts'
import { readSafetensors } from '../src/safetensors.ts'
import { createDecoder } from '../src/decoder.ts'
import {
  ADAMW,
  evaluationStep,
  EXPERTS,
  expertStep,
  moments,
  NO_EXPERTS,
  ROUTER,
  routerStep,
  type StepShape,
} from '../src/steps.ts'
import { placeBase } from '../src/trainer.ts'
import { floats } from './helpers/arrays.ts'
import { expectClose } from './helpers/compare.ts'
import { compiled, freshEngine } from './helpers/engines.ts'
import { nextTokenStep } from './helpers/next-token.ts'

interface Oracle {
  readonly batch: number
  readonly context: number
  readonly rank: number
  readonly alpha: number
  readonly balance: number
  readonly weightDecay: number
  readonly expertRate: number
  readonly routerRate: number
  /** E: a step on the experts, R: one on the routers, where there are any. */
  readonly phases: string
  readonly baseLoss: number
  readonly cases: readonly {
    readonly experts: number
    readonly routing: MixtureConfig['routing']
    readonly loss: number
    readonly training: readonly number[]
  }[]
  /** A batch for each training step, `[steps][B][T + 1]`. */
  readonly sequences: readonly (readonly (readonly number[])[])[]
}

/** Made by scripts/fixtures/ with Hugging Face's models and PyTorch's autograd, in double precision. */
await against('GPT-2', 'gpt2-tiny', 1)
// Hugging Face's Llama rounds to float32 inside, whatever its parameters are in: in its norms and its rotation.
await against('Llama', 'llama-tiny', 10)
await against('Llama with a tied head', 'llama-tiny-tied', 10)

async function against(family: string, name: string, slack: number): Promise<void> {
  const folder = fileURLToPath(new URL(`fixtures/${name}/`, import.meta.url))
  const oracle = JSON.parse(await readFile(`${folder}oracle.json`, 'utf8')) as Oracle
  const arrays = readSafetensors(await readFile(`${folder}oracle.safetensors`), 'oracle.safetensors')
  const base: BaseModel = await loadBase(folder)
  const N = oracle.batch * oracle.context

  const batches = oracle.sequences.map((sequences) => ({
    tokens: Int32Array.from(sequences.flatMap((sequence) => sequence.slice(0, -1))),
    targets: Int32Array.from(sequences.flatMap((sequence) => sequence.slice(1))),
  }))

  const shapeFor = (mixture: MixtureConfig): StepShape => ({
    model: base.config,
    mixture,
    layout: trainedLayout(base.config, mixture),
    batch: oracle.batch,
    context: oracle.context,
    balance: oracle.balance,
  })

  /** An engine that holds the base and the LoRA and routers of a case. */
  async function placed(engineName: EngineName, title: string, { layout }: StepShape): Promise<Engine> {
    const engine = await freshEngine(engineName)
    placeBase(engine, base)
    for (const [group, part] of [
      [EXPERTS, layout.experts],
      [ROUTER, layout.router],
    ] as const) {
      engine.place(group, floats([part.size], collected(part, `${title}/parameter`)))
      for (const moment of moments(group))
        engine.place(moment, floats([part.size], new Float32Array(part.size)))
    }
    return engine
  }

  /** The oracle's arrays in the order of a layout. */
  function collected(layout: Layout, prefix: string): Float32Array {
    const flat = new Float32Array(layout.size)
    for (const { name, shape, values } of namedArrays(layout, flat)) {
      const stored = arrays.array(`${prefix}/${name}`)
      expect(stored.shape).toEqual(shape)
      values.set(stored.values)
    }
    return flat
  }

  const optimiserInputs = (step: number, rate: number) => ({
    learningRate: Float32Array.of(rate),
    correction: Float32Array.of(1 / (1 - ADAMW.beta1 ** step), 1 / (1 - ADAMW.beta2 ** step)),
    decay: Float32Array.of(oracle.weightDecay),
  })

  describe.each(['cpu', 'onnx'] as const)(`${family} on %s`, (engineName) => {
    describe("Hugging Face's model", () => {
      it('has our logits at every position', async () => {
        const shape = shapeFor(NO_EXPERTS)
        const engine = await freshEngine(engineName)
        placeBase(engine, base)
        const program = await compiled(engine, nextTokenStep(shape))
        const logits: number[] = []
        for (let row = 0; row < oracle.batch; row++) {
          const tokens = batches[0]!.tokens.slice(row * oracle.context, (row + 1) * oracle.context)
          for (let position = 0; position < oracle.context; position++) {
            const result = await program.run({ tokens, position: Int32Array.of(position) })
            logits.push(...result['logits']!)
          }
        }
        expectClose(logits, arrays.array('logits').values, { relative: 2e-6 * slack })
      })

      it('has our logits when it is read token by token', async () => {
        const engine = await freshEngine(engineName)
        placeBase(engine, base)
        const decoder = createDecoder(engine, base.config, NO_EXPERTS)
        const logits: number[] = []
        for (let row = 0; row < oracle.batch; row++) {
          const reading = decoder.open()
          const tokens = batches[0]!.tokens.slice(row * oracle.context, (row + 1) * oracle.context)
          for (const token of tokens) logits.push(...(await reading.append([token])).logits)
        }
        expectClose(logits, arrays.array('logits').values, { relative: 2e-6 * slack })
      })

      it('has our loss', async () => {
        const engine = await freshEngine(engineName)
        placeBase(engine, base)
        const program = await compiled(engine, evaluationStep(shapeFor(NO_EXPERTS)))
        const { loss } = await program.run({ ...batches[0]!, weights: new Float32Array(N).fill(1 / N) })
        expectClose(loss!, [oracle.baseLoss], { relative: 1e-6 * slack })
      })
    })

    describe.each(oracle.cases)('CoMiGS in PyTorch, $experts experts by $routing', (expected) => {
      const title = `${expected.experts}-${expected.routing}`
      const { rank, alpha } = oracle
      const shape = shapeFor({ experts: expected.experts, routing: expected.routing, rank, alpha })
      const groups = shape.layout.router.size === 0 ? [EXPERTS] : [EXPERTS, ROUTER]

      it('has our loss', async () => {
        const engine = await placed(engineName, title, shape)
        const program = await compiled(engine, evaluationStep(shape))
        const { loss } = await program.run({ ...batches[0]!, weights: new Float32Array(N).fill(1 / N) })
        expectClose(loss!, [expected.loss], { relative: 1e-6 * slack })
      })

      it.each(groups)('has our gradient to every array of the %s', async (group) => {
        const engine = await placed(engineName, title, shape)
        const step = group === EXPERTS ? expertStep(shape) : routerStep(shape)
        const program = await compiled(engine, step)
        await program.run({ ...batches[0]!, ...optimiserInputs(1, 0) })
        const layout = group === EXPERTS ? shape.layout.experts : shape.layout.router
        // After one step from nothing the first moment is the gradient, scaled.
        const gradient = (await engine.read(moments(group)[0])).map((moment) => moment / (1 - ADAMW.beta1))
        for (const { name, values } of namedArrays(layout, gradient))
          expectClose(
            values,
            arrays.array(`${title}/gradient/${name}`).values,
            { relative: 1e-5 * slack },
            name,
          )
      })

      it('has our losses over ten steps of AdamW', async () => {
        const engine = await placed(engineName, title, shape)
        const experts = await compiled(engine, expertStep(shape))
        const routers = await compiled(engine, groups.length > 1 ? routerStep(shape) : expertStep(shape))
        const taken = new Map<Program, number>()
        const losses: number[] = []
        for (const [i, phase] of Array.from(oracle.phases).entries()) {
          const program = phase === 'E' || groups.length === 1 ? experts : routers
          const rate = program === experts ? oracle.expertRate : oracle.routerRate
          taken.set(program, (taken.get(program) ?? 0) + 1)
          const { loss } = await program.run({
            ...batches[i]!,
            ...optimiserInputs(taken.get(program)!, rate),
          })
          losses.push(loss![0]!)
        }
        expectClose(losses, expected.training, { relative: 2e-5 * slack })
      })
    })
  })
}
