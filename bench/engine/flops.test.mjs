import { describe, expect, it } from 'vitest'
import { simplify } from '../../packages/model/src/engine/passes.ts'
import { record } from '../../packages/model/src/engine/recorder.ts'
import { baseLayout, trainedLayout } from '../../packages/model/src/parameters.ts'
import {
  baseArray,
  EXPERTS,
  expertStep,
  moments,
  ROUTER,
  routerStep,
} from '../../packages/model/src/steps.ts'
import { usefulFlops } from './flops.mjs'

const model = (changes = {}) => ({
  architecture: 'gpt2',
  vocabSize: 61,
  positions: 16,
  width: 12,
  layers: 3,
  heads: 3,
  hidden: 40,
  epsilon: 1e-5,
  ...changes,
})
const mixture = (experts) => ({ experts, rank: 5, alpha: 16, routing: 'router' })
const work = (changes = {}) => ({ model: model(), mixture: mixture(2), batch: 2, context: 8, ...changes })

const size = (shape) => shape.reduce((product, dim) => product * dim, 1)

/** Operations of the products that a node makes; counted from the shapes of what goes in and comes out. */
const PRODUCTS = {
  'comigs.Gemm': ({ inputs, outputs, attrs }) =>
    2 * size(outputs[0].shape) * inputs.a.shape[attrs.transposeA ? 0 : 1],
  'comigs.Attention': ({ inputs, outputs }) =>
    2 * 2 * size(outputs[1].shape) * headWidth(inputs.qkv, outputs[1]),
  'comigs.AttentionGrad': ({ inputs }) =>
    4 * 2 * size(inputs.probs.shape) * headWidth(inputs.qkv, inputs.probs),
  'comigs.HeadCrossEntropy': ({ inputs }) => 2 * 2 * size(inputs.x.shape) * inputs.w.shape[0],
}
const headWidth = (qkv, probs) => qkv.shape[1] / 3 / probs.shape[0]

/** What the step that the engine records really multiplies. */
function recordedFlops({ model, mixture, batch, context }, step) {
  const layout = trainedLayout(model, mixture)
  const build = { expert: expertStep, router: routerStep }[step]
  const made = build({ model, mixture, layout, batch, context, balance: 0.01 })
  const specs = { ...made.inputs }
  for (const { name, shape } of baseLayout(model).entries)
    specs[baseArray(name)] = { shape, dtype: 'float32' }
  for (const [group, part] of [
    [EXPERTS, layout.experts],
    [ROUTER, layout.router],
  ])
    for (const name of [group, ...moments(group)]) specs[name] = { shape: [part.size], dtype: 'float32' }
  const inputs = Object.fromEntries(
    made.reads.concat(Object.keys(made.inputs)).map((name) => [name, specs[name]]),
  )
  const graph = simplify(record(made.name, inputs, (tensors) => made.build(tensors)))
  return graph.nodes.reduce((sum, node) => sum + (PRODUCTS[node.kernel]?.(node) ?? 0), 0)
}

describe('usefulFlops', () => {
  const cases = [
    ['as it is', work()],
    ['one layer', work({ model: model({ layers: 1 }) })],
    ['other widths', work({ model: model({ width: 18, hidden: 7, vocabSize: 100 }), batch: 3 })],
  ]

  it.each(cases)('is what the recorded expert step multiplies: %s', (_, given) => {
    expect(usefulFlops(given, 'expert').total).toBe(recordedFlops(given, 'expert'))
  })

  it.each(cases)('is what the recorded router step multiplies: %s', (_, given) => {
    expect(usefulFlops(given, 'router').total).toBe(recordedFlops(given, 'router'))
  })

  it('counts one expert without a router', () => {
    const given = work({ mixture: mixture(1) })
    expect(usefulFlops(given, 'expert').total).toBe(recordedFlops(given, 'expert'))
  })

  it('counts a layer by hand', () => {
    // N = 16 tokens, C = 12, F = 40, V = 61, r = 5, T = 8; one layer, so nothing goes back below its first LoRA.
    const flops = usefulFlops(work({ model: model({ layers: 1 }) }), 'expert')
    expect(flops.head).toBe(2 * (2 * 16 * 12 * 61))
    expect(flops.attention).toBe(6 * (2 * 16 * 8 * 12))
    expect(flops.frozen).toBe(2 * 16 * (12 * 36 + 2 * (12 * 12) + 2 * (2 * 12 * 40)))
    expect(flops.router).toBe(2 * (2 * 16 * 12 * 2))
  })
})
