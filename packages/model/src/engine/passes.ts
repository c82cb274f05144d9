import { type Graph, type Node, sameShape, sizeOf, type Value } from './graph.ts'

/** Everything that makes a recorded graph smaller, in the order that pays. @param isLarge - see `isLargeStep` */
export function simplify(graph: Graph, isLarge = false): Graph {
  const fewer = dropDead(fuseAddIntoGemm(mergeEqual(dropNeutral(dropDead(graph)))))
  return advanceReshapes(isLarge ? recompute(fewer) : fewer)
}

/** Removes nodes that no output depends on: gradients that nobody asked for, placeholders that tfjs's tape makes. */
export function dropDead(graph: Graph): Graph {
  const needed = new Set<Node>()
  const visit = (value: Value): void => {
    if (value.origin.kind !== 'node' || needed.has(value.origin.node)) return
    needed.add(value.origin.node)
    Object.values(value.origin.node.inputs).forEach(visit)
  }
  for (const value of graph.outputs.values()) visit(value)
  return { ...graph, nodes: graph.nodes.filter((node) => needed.has(node)) }
}

/** x · 1 = x, x + 0 = x: tfjs's tape starts with such a product and sums gradients of which some are nothing. */
export function dropNeutral(graph: Graph): Graph {
  return rewrite(graph, (node) => {
    const neutral = NEUTRAL[node.kernel]
    if (neutral === undefined) return undefined
    const { a, b } = node.inputs as { a: Value; b: Value }
    const made = node.outputs[0]!
    if (isConstant(b, neutral) && sameShape(a.shape, made.shape)) return a
    if (isConstant(a, neutral) && sameShape(b.shape, made.shape)) return b
    return undefined
  })
}

const NEUTRAL: Readonly<Record<string, number>> = { Multiply: 1, Add: 0 }

/** Common subexpression elimination: same kernel, same inputs, same attributes. */
export function mergeEqual(graph: Graph): Graph {
  const seen = new Map<string, Node>()
  const redirect = new Map<Value, Value>()
  const nodes: Node[] = []
  for (const node of graph.nodes) {
    node.inputs = redirected(node.inputs, redirect)
    const inputs = Object.entries(node.inputs).map(([name, value]) => `${name}:${value.id}`)
    const key = `${node.kernel}(${inputs.join()})${JSON.stringify(node.attrs, exact)}`
    const twin = seen.get(key)
    if (twin === undefined) {
      seen.set(key, node)
      nodes.push(node)
    } else {
      node.outputs.forEach((value, i) => redirect.set(value, twin.outputs[i]!))
    }
  }
  return { ...graph, nodes, outputs: redirectedOutputs(graph, redirect) }
}

/** JSON knows neither infinities, NaN nor -0. */
const exact = (_: string, value: unknown): unknown =>
  typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0))
    ? `${value}${1 / value}`
    : value

/** x + a b -> one Gemm that accumulates into x, where nothing else reads the product. */
export function fuseAddIntoGemm(graph: Graph): Graph {
  const uses = countUses(graph)
  const redirect = new Map<Value, Value>()
  const absorbed = new Set<Node>()
  const nodes: Node[] = []
  for (const node of graph.nodes) {
    node.inputs = redirected(node.inputs, redirect)
    const fused = node.kernel === 'Add' ? fuse(node, uses, absorbed) : undefined
    if (fused !== undefined) redirect.set(node.outputs[0]!, fused.outputs[0]!)
    nodes.push(fused ?? node)
  }
  return {
    ...graph,
    nodes: nodes.filter((node) => !absorbed.has(node)),
    outputs: redirectedOutputs(graph, redirect),
  }
}

function fuse(add: Node, uses: ReadonlyMap<Value, number>, absorbed: Set<Node>): Node | undefined {
  const { a, b } = add.inputs as { a: Value; b: Value }
  for (const [product, addend] of [
    [b, a],
    [a, b],
  ] as const) {
    if (product.origin.kind !== 'node' || !sameShape(product.shape, addend.shape)) continue
    const gemm = product.origin.node
    if (gemm.kernel !== 'comigs.Gemm' || 'c' in gemm.inputs || uses.get(product) !== 1) continue
    absorbed.add(gemm)
    const outputs: Value[] = []
    const node: Node = { ...gemm, inputs: { ...gemm.inputs, c: addend }, outputs }
    outputs.push({ ...add.outputs[0]!, origin: { kind: 'node', node, output: 0 } })
    return node
  }
  return undefined
}

/** Activation functions: large outputs, cheap to make again from inputs that are kept anyway. */
const ACTIVATIONS: readonly string[] = ['comigs.Gelu', 'comigs.Swiglu']

/** As cheap: what LoRA's gradients read of them. */
const NORMS: readonly string[] = ['comigs.LayerNorm', 'comigs.RmsNorm']

/** Inner width up to which a product is cheap: LoRA's. */
const NARROW = 16

/** Below so many bytes that can be saved nothing is made twice: it costs about 2 % of a step. */
const RECOMPUTE_BYTES = 64 << 20

/**
 * What the forward pass makes and the backward pass reads again is made again instead of being kept, where that is cheap
 * (gradient checkpointing, Chen et al., arXiv 1604.06174): activations, normalised inputs, and the experts' inner layers,
 * which are the same frozen product plus a LoRA each. 500 MB less for a gpt2-shaped step.
 */
export function recompute(graph: Graph, threshold = RECOMPUTE_BYTES): Graph {
  const activations = keptForGradients(graph, ({ kernel }) => ACTIVATIONS.includes(kernel))
  const bytes = activations.reduce((sum, { output }) => sum + 4 * sizeOf(output.shape), 0)
  if (bytes < threshold) return graph
  const normed = keptForGradients(graph, ({ kernel }) => NORMS.includes(kernel))
  const once = makeAgain(graph, [...activations, ...normed])
  const uses = countUses(once)
  const isExpert = ({ kernel, inputs: { a, c } }: Node) =>
    kernel === 'comigs.Gemm' && c !== undefined && uses.get(c)! > 1 && Math.min(...a!.shape) <= NARROW
  return makeAgain(once, keptForGradients(once, isExpert))
}

interface Kept {
  readonly node: Node
  readonly output: Value
  /** Its readers in the backward pass, in order. */
  readonly late: readonly Node[]
  /** A gradient that the first of them waits for: it is there just before, and long after the node has run. */
  readonly since: Value
}

function keptForGradients(graph: Graph, isCheap: (node: Node) => boolean): Kept[] {
  const at = new Map(graph.nodes.map((node, i) => [node, i]))
  const loss = graph.nodes.findIndex(({ kernel }) => kernel === 'comigs.HeadCrossEntropy')
  const isLate = (node: Node) => at.get(node)! > loss
  const forward = graph.nodes.slice(0, Math.max(0, loss))
  return forward.filter(isCheap).flatMap((node) => {
    const output = node.outputs[0]!
    const late = graph.nodes.filter((one) => isLate(one) && Object.values(one.inputs).includes(output))
    const awaited = Object.values(late[0]?.inputs ?? {}).find(
      ({ origin }) => origin.kind === 'node' && isLate(origin.node),
    )
    const since = late[0]?.since ?? awaited
    return since === undefined ? [] : [{ node, output, late, since }]
  })
}

function makeAgain(graph: Graph, kept: readonly Kept[]): Graph {
  const before = new Map<Node, Node[]>()
  for (const { node, output, late, since } of kept) {
    const outputs: Value[] = []
    const again: Node = { ...node, outputs, since }
    const made: Value = { ...output, id: -1 - output.id, origin: { kind: 'node', node: again, output: 0 } }
    outputs.push(made)
    for (const reader of late) reader.inputs = redirected(reader.inputs, new Map([[output, made]]))
    before.set(late[0]!, [...(before.get(late[0]!) ?? []), again])
  }
  return { ...graph, nodes: graph.nodes.flatMap((node) => [...(before.get(node) ?? []), node]) }
}

/**
 * Puts every Reshape right behind what it reshapes. The gradients are flattened together, after the last of them; ONNX
 * Runtime orders them by that, and would work through all layers for the first one before it makes the second (see
 * OnnxBuilder.serialize).
 */
export function advanceReshapes(graph: Graph): Graph {
  const behind = new Map<Node, Node[]>()
  const isFollower = ({ kernel, inputs }: Node) => kernel === 'Reshape' && inputs['x']!.origin.kind === 'node'
  for (const node of graph.nodes.filter(isFollower)) {
    const { origin } = node.inputs['x']!
    if (origin.kind === 'node') behind.set(origin.node, [...(behind.get(origin.node) ?? []), node])
  }
  const withFollowers = (node: Node): Node[] => [node, ...(behind.get(node) ?? []).flatMap(withFollowers)]
  return { ...graph, nodes: graph.nodes.filter((node) => !isFollower(node)).flatMap(withFollowers) }
}

function rewrite(graph: Graph, replacement: (node: Node) => Value | undefined): Graph {
  const redirect = new Map<Value, Value>()
  const nodes = graph.nodes.filter((node) => {
    node.inputs = redirected(node.inputs, redirect)
    const value = replacement(node)
    if (value !== undefined) redirect.set(node.outputs[0]!, value)
    return value === undefined
  })
  return { ...graph, nodes, outputs: redirectedOutputs(graph, redirect) }
}

function redirected(
  inputs: Record<string, Value>,
  redirect: ReadonlyMap<Value, Value>,
): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, value]) => [name, redirect.get(value) ?? value]),
  )
}

function redirectedOutputs(graph: Graph, redirect: ReadonlyMap<Value, Value>): Map<string, Value> {
  return new Map([...graph.outputs].map(([name, value]) => [name, redirect.get(value) ?? value]))
}

function countUses(graph: Graph): Map<Value, number> {
  const uses = new Map<Value, number>()
  const note = (value: Value) => uses.set(value, (uses.get(value) ?? 0) + 1)
  for (const node of graph.nodes) Object.values(node.inputs).forEach(note)
  for (const value of graph.outputs.values()) note(value)
  return uses
}

function isConstant(value: Value, element: number): boolean {
  return value.origin.kind === 'constant' && value.origin.data.every((x) => x === element)
}
