import type { Engine, Step } from '../../src/engine/engine.ts'
import { type HostArray, sizeOf, type TensorSpec } from '../../src/engine/graph.ts'
import type { ModelConfig } from '../../src/config.ts'
import { baseLayout, trainedLayout } from '../../src/parameters.ts'
import {
  BASE,
  baseArray,
  decodeStep,
  evaluationStep,
  EXPERTS,
  expertStep,
  leaked,
  leakyStep,
  moments,
  NO_EXPERTS,
  pretrainStep,
  ROUTER,
  routerStep,
  type StepShape,
} from '../../src/steps.ts'
import { normal, randomInts } from './arrays.ts'
import { mixtureOf, shapeOf, TINY, TINY_LLAMA, tinyBase } from './models.ts'

export interface NamedStep {
  readonly name: string
  readonly step: Step
  readonly model: ModelConfig
  readonly experts: number
}

const mixture = (experts: number) => (experts === 0 ? NO_EXPERTS : mixtureOf(experts))

/** Every step that this package compiles, in every form that its graph takes. */
export const STEPS: readonly NamedStep[] = [...stepsOf('GPT-2', TINY), ...stepsOf('Llama', TINY_LLAMA)]

function stepsOf(family: string, model: ModelConfig): NamedStep[] {
  const ofEach = (name: string, experts: readonly number[], step: (shape: StepShape) => Step): NamedStep[] =>
    experts.map((n) => ({
      name: `${family}, ${name}, ${n} experts`,
      step: step(shapeOf(mixture(n), model)),
      model,
      experts: n,
    }))
  return [
    ...ofEach('expert step', [1, 2, 4], expertStep),
    ...ofEach('router step', [2, 4], routerStep),
    ...ofEach('leaky expert step', [2], (shape) => leakyStep(shape, EXPERTS)),
    ...ofEach('leaky router step', [4], (shape) => leakyStep(shape, ROUTER)),
    ...ofEach('evaluation', [0, 1, 2, 4], evaluationStep),
    ...ofEach('decode', [0, 2, 4], (shape) => decodeStep({ ...shape, tokens: 16, past: 18 })),
    ...ofEach('pretraining', [0], () => pretrainStep({ model, batch: 2, context: 16 })),
  ]
}

/** Puts the arrays that a step reads into the engine. */
export function placeFor(engine: Engine, { step, model, experts }: NamedStep): void {
  const layout = trainedLayout(model, mixture(experts))
  const vector = (name: string, size: number) => {
    engine.place(name, normal(name, [size], 0.1))
    for (const moment of [...moments(name), leaked(name)]) {
      const values = new Float32Array(size)
      engine.place(moment, { shape: [size], dtype: 'float32', values })
    }
  }
  if (step.reads.includes(EXPERTS)) vector(EXPERTS, layout.experts.size)
  if (step.reads.includes(ROUTER)) vector(ROUTER, layout.router.size)
  if (step.reads.includes(BASE)) vector(BASE, baseLayout(model).size)
  else
    for (const { name, shape, values } of tinyBase(model).arrays)
      engine.place(baseArray(name), { shape, dtype: 'float32', values })
}

/** Something that fits each input of a step: tokens, and numbers between 0 and 1. */
export function inputsFor({ step }: NamedStep): Record<string, HostArray> {
  const values = ([name, spec]: [string, TensorSpec]): [string, HostArray] => [
    name,
    spec.dtype === 'int32'
      ? randomInts(name, sizeOf(spec.shape), 16)
      : Float32Array.from({ length: sizeOf(spec.shape) }, () => 0.01),
  ]
  return Object.fromEntries(Object.entries(step.inputs).map(values))
}
