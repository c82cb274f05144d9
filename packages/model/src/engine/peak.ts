import { type Graph, type Node, sizeOf, type Value } from './graph.ts'
import { headChunk } from './onnx/named-kernels.ts'

const ELEMENT_BYTES = 4

/**
 * Bytes of what a graph makes, at the moment when most of it is alive, were its nodes run in their order; its inputs not
 * counted. An allocator takes more: it keeps what it has once had.
 */
export function peakBytes(graph: Graph): number {
  const lastUse = new Map<Value, number>()
  graph.nodes.forEach((node, i) => {
    for (const value of [...node.outputs, ...Object.values(node.inputs)]) lastUse.set(owner(value), i)
  })
  for (const value of graph.outputs.values()) lastUse.set(owner(value), Infinity)

  const dying = new Map<number, Value[]>()
  for (const [value, at] of lastUse) dying.set(at, [...(dying.get(at) ?? []), value])
  let alive = 0
  let peak = 0
  graph.nodes.forEach((node, i) => {
    for (const value of node.outputs) if (owner(value) === value) alive += bytesOf(value)
    peak = Math.max(peak, alive + scratch(node))
    for (const value of dying.get(i) ?? []) alive -= bytesOf(value)
  })
  return peak
}

/** A reshaped tensor is the same bytes. */
function owner(value: Value): Value {
  const { origin } = value
  return origin.kind === 'node' && origin.node.kernel === 'Reshape' ? owner(origin.node.inputs['x']!) : value
}

const bytesOf = ({ origin, shape }: Value): number =>
  origin.kind === 'node' ? ELEMENT_BYTES * sizeOf(shape) : 0

/** What a node needs besides: the head has a chunk of logits, which then become probabilities. */
function scratch({ kernel, inputs }: Node): number {
  if (kernel !== 'comigs.HeadCrossEntropy') return 0
  const [N, V] = [inputs['x']!.shape[0]!, inputs['w']!.shape[0]!]
  return ELEMENT_BYTES * headChunk(N, V) * V
}
