// tfjs's gradients, without which no training step can be traced.
import '@tensorflow/tfjs-layers'
import ort from 'onnxruntime-node'
import type { Graph } from '../../src/engine/graph.ts'
import { inputName, lower } from '../../src/engine/onnx/lower.ts'
import { record } from '../../src/engine/recorder.ts'
import { type Build, type HostTensors } from './engines.ts'

export const recorded = (inputs: HostTensors, build: Build): Graph => record('test', inputs, build)

/** Kernels in the order in which they run. */
export const kernelsOf = (graph: Graph): string[] => graph.nodes.map((node) => node.kernel)

/** Runs a graph as it is, without the engine's passes. */
export async function runGraph(graph: Graph, feeds: HostTensors): Promise<Record<string, Float32Array>> {
  const { bytes, inputs, outputs } = lower('test', graph)
  const session = await ort.InferenceSession.create(bytes, { graphOptimizationLevel: 'disabled' })
  const results = await session.run(
    Object.fromEntries(
      inputs.map((name) => {
        const { dtype, values, shape } = feeds[name]!
        return [inputName(name), new ort.Tensor(dtype, values as Float32Array, shape)]
      }),
    ),
  )
  const valuesOf = (onnxName: string) => Float32Array.from(results[onnxName]!.data as Float32Array)
  const returned = Object.fromEntries(outputs.map((name, i) => [name, valuesOf(session.outputNames[i]!)]))
  await session.release()
  return returned
}
