import type { Engine, Step } from '../../src/engine/engine.ts'
import { type HostArray, sizeOf, type TensorSpec } from '../../src/engine/graph.ts'
import { baseLayout, trainedLayout } from '../../src/parameters.ts'
import {
  BASE,
  baseArray,
  decodeStep,
  evaluationStep,
  EXPERTS,
  expertStep,
  moments,
  NO_EXPERTS,
  pretrainStep,
  ROUTER,
  routerStep,
} from '../../src/steps.ts'
import { normal, randomInts } from './arrays.ts'
import { mixtureOf, shapeOf, TINY, tinyBase } from './models.ts'

export interface NamedStep {
  readonly name: string
  readonly step: Step
  readonly experts: number
}

const mixture = (experts: number) => (experts === 0 ? NO_EXPERTS : mixtureOf(experts))

function ofEach(name: string, experts: readonly number[], step: (experts: number) => Step): NamedStep[] {
  return experts.map((n) => ({ name: `${name}, ${n} experts`, step: step(n), experts: n }))
}

/** Every step that this package compiles, in every form that its graph takes. */
export const STEPS: readonly NamedStep[] = [
  ...ofEach('expert step', [1, 2, 4], (n) => expertStep(shapeOf(mixture(n)))),
  ...ofEach('router step', [2, 4], (n) => routerStep(shapeOf(mixture(n)))),
  ...ofEach('evaluation', [0, 1, 2, 4], (n) => evaluationStep(shapeOf(mixture(n)))),
  ...ofEach('decode', [0, 2, 4], (n) => decodeStep({ ...shapeOf(mixture(n)), tokens: 16, past: 8 })),
  ...ofEach('pretraining', [0], () => pretrainStep({ model: TINY, batch: 2, context: 16 })),
]

/** Puts the arrays that a step reads into the engine. */
export function placeFor(engine: Engine, { step, experts }: NamedStep): void {
  const layout = trainedLayout(TINY, mixture(experts))
  const vector = (name: string, size: number) => {
    engine.place(name, normal(name, [size], 0.1))
    for (const moment of moments(name)) {
      const values = new Float32Array(size)
      engine.place(moment, { shape: [size], dtype: 'float32', values })
    }
  }
  if (step.reads.includes(EXPERTS)) vector(EXPERTS, layout.experts.size)
  if (step.reads.includes(ROUTER)) vector(ROUTER, layout.router.size)
  if (step.reads.includes(BASE)) vector(BASE, baseLayout(TINY).size)
  else
    for (const { name, shape, values } of tinyBase().arrays)
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
