import type { Graph, Value } from '../graph.ts'
import { after } from './after.ts'
import { CPU_DIALECT, type Dialect, OnnxBuilder } from './builder.ts'
import { KERNELS } from './kernels.ts'

export interface OnnxModel {
  readonly bytes: Uint8Array
  /** Names of the graph's inputs that are really read. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly nodeCount: number
}

export interface LowerOptions {
  readonly dialect?: Dialect
  /** Whether what the step keeps in memory matters more than what it costs to keep little. @default false */
  readonly isLarge?: boolean
}

/** Turns a graph of kernels into an ONNX model whose inputs and outputs carry the graph's own names. */
export function lower(
  name: string,
  graph: Graph,
  { dialect = CPU_DIALECT, isLarge = false }: LowerOptions = {},
): OnnxModel {
  const onnx = new OnnxBuilder(dialect)
  const names = new Map<Value, string>()
  const used = usedValues(graph)

  const inputs: string[] = []
  for (const value of graph.inputs) {
    if (!used.has(value) || value.origin.kind !== 'input') continue
    // An output may bear the name of the input that it replaces; inside the model they must differ.
    names.set(value, onnx.input(inputName(value.origin.name), value))
    inputs.push(value.origin.name)
  }
  const nameOf = (value: Value): string => {
    let known = names.get(value)
    if (known === undefined && value.origin.kind === 'constant') {
      known = onnx.constant(value, value.origin.data)
      names.set(value, known)
    }
    if (known === undefined) throw new Error(`value ${value.id} is used before it is made`)
    return known
  }

  const late = (value: Value, since: Value): string => after(onnx, nameOf(value), value, [nameOf(since)])

  for (const node of graph.nodes) {
    // Once for each input: a node that nobody reads would have ONNX Runtime make what it waits for before anything else.
    const lateNames = new Map<string, string>()
    const lateName = (input: string, since: Value): string => {
      const name = lateNames.get(input) ?? late(node.inputs[input]!, since)
      lateNames.set(input, name)
      return name
    }
    const made = KERNELS[node.kernel]!.lower(onnx, {
      node,
      attrs: node.attrs,
      used: node.outputs.map((value) => used.has(value)),
      name: (input) => (node.since === undefined ? nameOf(node.inputs[input]!) : lateName(input, node.since)),
      value: (input) => node.inputs[input]!,
    })
    node.outputs.forEach((value, i) => names.set(value, made[i]!))
  }

  // The node that makes an output makes it under the output's name; a second name for the same value is a copy.
  const published = new Set<string>()
  for (const [outputName, value] of graph.outputs) {
    const from = nameOf(value)
    const to = publicName(outputName)
    if (value.origin.kind === 'node' && !published.has(from) && onnx.rename(to, from, value)) {
      names.set(value, to)
      published.add(to)
    } else {
      onnx.output(to, from, value)
    }
  }
  return {
    bytes: onnx.serialize(name, isLarge),
    inputs,
    outputs: [...graph.outputs.keys()],
    nodeCount: onnx.nodeCount,
  }
}

export const inputName = (name: string): string => `in:${name}`
export const publicName = (name: string): string => `out:${name}`

function usedValues(graph: Graph): Set<Value> {
  const used = new Set<Value>(graph.outputs.values())
  for (const node of graph.nodes) Object.values(node.inputs).forEach((value) => used.add(value))
  return used
}
