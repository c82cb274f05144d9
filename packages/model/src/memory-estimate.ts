import type { BaseModel } from './base.ts'
import type { MixtureConfig } from './config.ts'
import { type Graph, type InputSpec, sizeOf } from './engine/graph.ts'
import { isLargeStep } from './engine/onnx-engine.ts'
import { simplify } from './engine/passes.ts'
import { peakBytes } from './engine/peak.ts'
import { record } from './engine/recorder.ts'
import type { Storage } from './engine/storage.ts'
import { baseLayout, trainedLayout } from './parameters.ts'
import { baseArray, EXPERTS, expertStep, moments, ROUTER } from './steps.ts'
import { type BaseDtype, baseStorage } from './trainer.ts'

/** What decides how much memory a peer takes. */
export interface MemoryPlan {
  readonly mixture: MixtureConfig
  readonly baseDtype: BaseDtype
  readonly batch: number
  readonly context: number
}

/** In bytes, while training on the `onnx` engine. */
export interface MemoryEstimate {
  /** The frozen base, as it is kept. */
  readonly base: number
  /** Experts and routers with their moments, each with a twin that a step writes into, and copies that are made of them. */
  readonly trained: number
  /** What a step makes and keeps on the way. */
  readonly step: number
  /** Everything else: Node, its libraries, the network. */
  readonly process: number
  readonly total: number
}

/** Node and the engine, idle; and what a peer has besides: network, pages, text. Measured (memory-estimate.test.ts). */
const RUNTIME_BYTES = 150e6
export const PEER_BYTES = 70e6
/** What an allocator takes for a byte that is alive: kernels need scratch, blocks leave gaps. Measured likewise. */
const ALLOCATOR_FACTOR = 1.5
/** Parameters and two moments: in engine memory twice, and copied once before a phase, to be able to go back. */
const TRAINED_COPIES = 9

/** How much memory training will take, from the shapes alone: the step is written down, not run. */
export function estimateMemory(base: Pick<BaseModel, 'config' | 'bits'>, plan: MemoryPlan): MemoryEstimate {
  const { config: model } = base
  const { mixture, batch, context } = plan
  const layout = trainedLayout(model, mixture)
  const storage = baseStorage(base, plan.baseDtype)
  const baseInputs = baseLayout(model).entries.map(({ name, shape }): [string, InputSpec] => [
    baseArray(name),
    { shape, dtype: 'float32', storage: storage.get(name) },
  ])
  const groups = [
    [EXPERTS, layout.experts.size],
    [ROUTER, layout.router.size],
  ] as const
  const trained = groups.flatMap(([key, size]) =>
    [key, ...moments(key)].map((name): [string, InputSpec] => [name, { shape: [size], dtype: 'float32' }]),
  )
  const step = expertStep({ model, mixture, layout, batch, context, balance: 0 })
  const inputs = Object.fromEntries([...baseInputs, ...trained].filter(([name]) => step.reads.includes(name)))
  const recorded = record(step.name, { ...step.inputs, ...inputs }, (tensors) => step.build(tensors))
  const graph = simplify(recorded, isLargeStep(recorded))
  const parts = {
    base: baseInputs.reduce((sum, [, spec]) => sum + storedBytes(spec), 0),
    trained: 4 * TRAINED_COPIES * (layout.experts.size + layout.router.size),
    step: ALLOCATOR_FACTOR * peakBytes(graph) + castBytes(graph),
    process: RUNTIME_BYTES + PEER_BYTES,
  }
  return { ...parts, total: Object.values(parts).reduce((sum, bytes) => sum + bytes) }
}

/** A matrix that is kept in few bytes is made float32 to be multiplied with, one at a time. An embedding is not: rows of it are. */
function castBytes({ nodes }: Graph): number {
  const multiplied = nodes
    .filter(({ kernel }) => kernel !== 'comigs.Embedding')
    .flatMap(({ inputs }) => Object.values(inputs))
  return Math.max(
    0,
    ...multiplied.map(({ storage, shape }) => (storage === undefined ? 0 : 4 * sizeOf(shape))),
  )
}

const BYTES: Readonly<Record<Storage['type'], number>> = { float16: 2, int8: 1 }

function storedBytes({ shape, storage }: InputSpec): number {
  if (storage === undefined) return 4 * sizeOf(shape)
  const scales = storage.type === 'int8' ? 4 * shape[storage.axis]! : 0
  return BYTES[storage.type] * sizeOf(shape) + scales
}

/**
 * The plan nearest to this one that fits: what takes most is made smaller, notch by notch.
 * @returns undefined when nothing does
 */
export function fittingPlan(
  base: Pick<BaseModel, 'config' | 'bits'>,
  plan: MemoryPlan,
  available: number,
): MemoryPlan | undefined {
  const estimate = estimateMemory(base, plan)
  if (estimate.total <= available) return plan
  const smaller = PARTS.map((part) => ({ bytes: estimate[part], next: NOTCHES[part](plan) }))
  const [most] = smaller.filter(({ next }) => next !== undefined).sort((a, b) => b.bytes - a.bytes)
  return most && fittingPlan(base, most.next!, available)
}

const PARTS = ['base', 'trained', 'step'] as const
const NOTCHES: Readonly<Record<(typeof PARTS)[number], (plan: MemoryPlan) => MemoryPlan | undefined>> = {
  base: ({ baseDtype, ...plan }) =>
    baseDtype === 'int8' ? undefined : { ...plan, baseDtype: baseDtype === 'float16' ? 'int8' : 'float16' },
  trained: ({ mixture, ...plan }) =>
    mixture.experts === 1 ? undefined : { ...plan, mixture: { ...mixture, experts: mixture.experts - 1 } },
  step: ({ batch, ...plan }) => (batch === 1 ? undefined : { ...plan, batch: Math.floor(batch / 2) }),
}
