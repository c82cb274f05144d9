import type { BaseModel } from '../../src/base.ts'
import type { Gpt2Config, LlamaConfig, MixtureConfig, ModelConfig } from '../../src/config.ts'
import type { TokenSet } from '../../src/data.ts'
import type { Engine } from '../../src/engine/engine.ts'
import { baseLayout, type NamedArray, namedArrays, trainedLayout } from '../../src/parameters.ts'
import { fillNormal, stream } from '../../src/random.ts'
import type { StepShape } from '../../src/steps.ts'
import { createTrainer, placeBase, type Trainer, type TrainerOptions } from '../../src/trainer.ts'
import { randomInts } from './arrays.ts'

export const TINY: Gpt2Config = {
  architecture: 'gpt2',
  vocabSize: 97,
  positions: 20,
  width: 16,
  layers: 2,
  heads: 2,
  hidden: 64,
  epsilon: 1e-5,
}

/** Grouped queries, a head of its own, heads wider than the residual stream, a stretched rotation. */
export const TINY_LLAMA: LlamaConfig = {
  architecture: 'llama',
  vocabSize: 97,
  positions: 20,
  width: 16,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headWidth: 6,
  hidden: 40,
  epsilon: 1e-5,
  rope: {
    theta: 100,
    scaling: { kind: 'llama3', factor: 4, lowFrequencyFactor: 1, highFrequencyFactor: 4, positions: 16 },
  },
  tied: false,
}

/** GPT-2 small, 124M. */
export const GPT2_SMALL: Gpt2Config = {
  architecture: 'gpt2',
  vocabSize: 50257,
  positions: 1024,
  width: 768,
  layers: 12,
  heads: 12,
  hidden: 3072,
  epsilon: 1e-5,
}

export const mixtureOf = (experts: number, routing: MixtureConfig['routing'] = 'router'): MixtureConfig => ({
  experts,
  rank: 3,
  alpha: 6,
  routing,
})

export const shapeOf = (mixture: MixtureConfig, model: ModelConfig = TINY): StepShape => ({
  model,
  mixture,
  layout: trainedLayout(model, mixture),
  batch: 2,
  context: 16,
  balance: 0.01,
})

/** A base that is not read from disk. */
export interface MemoryBase extends BaseModel {
  readonly arrays: readonly NamedArray[]
}

/** A base whose every parameter matters: nothing is zero, nothing is so small that it hides. */
export function tinyBase(config: ModelConfig = TINY, deviation = 0.2): MemoryBase {
  const layout = baseLayout(config)
  const flat = new Float32Array(layout.size)
  fillNormal(flat, deviation, stream(7, 'tiny base'))
  for (const { init, offset, size } of layout.entries) {
    if (init.kind === 'ones') for (let i = offset; i < offset + size; i++) flat[i]! += 1
  }
  return baseOf(config, namedArrays(layout, flat))
}

export const baseOf = (config: ModelConfig, arrays: readonly NamedArray[]): MemoryBase => ({
  config,
  arrays,
  hashes: { weights: '', config: '', tokenizer: '' },
})

/** One group of random tokens. */
export function tokenSet(name: string, length: number, vocab = TINY.vocabSize): TokenSet {
  return { tokens: randomInts(name, length, vocab), groups: [{ name, from: 0, to: length }] }
}

export const DATA = { train: tokenSet('train', 400), valid: tokenSet('valid', 200) }

export const tinyOptions = (
  mixture: MixtureConfig,
  overrides: Partial<TrainerOptions> = {},
): TrainerOptions => ({
  mixture,
  batch: 2,
  context: 16,
  schedule: { kind: 'cosine', rate: 1e-2, steps: 20 },
  routerRate: 1e-2,
  weightDecay: 0.01,
  balance: 0.01,
  sharedSeed: 11,
  seed: 12,
  ...overrides,
})

/** A trainer on a base of its own. */
export async function tinyTrainer(
  engine: Engine,
  mixture: MixtureConfig,
  overrides: Partial<TrainerOptions> = {},
  { base = tinyBase(), data = DATA }: { base?: BaseModel; data?: typeof DATA } = {},
): Promise<Trainer> {
  placeBase(engine, base)
  return createTrainer(engine, base, data, tinyOptions(mixture, overrides))
}

/** Everything that a trainer holds, by name. */
export async function savedArrays(trainer: Pick<Trainer, 'save'>): Promise<Map<string, Float32Array>> {
  const { arrays } = await trainer.save()
  return new Map(arrays.map(({ name, values }) => [name, values]))
}
