import { describe, expect, it, onTestFinished } from 'vitest'
import type { Engine } from '../src/engine/engine.ts'
import { createOnnxEngine } from '../src/engine/onnx-engine.ts'
import { onnxCpu, WEBGPU_DIALECT } from '../src/engine/onnx/runtimes.ts'
import { normal } from './helpers/arrays.ts'
import { expectClose } from './helpers/compare.ts'
import { compiled, freshEngine } from './helpers/engines.ts'
import { inputsFor, type NamedStep, placeFor, STEPS } from './helpers/steps.ts'

/** What is said to WebGPU, said to the CPU, which understands it, too. */
async function cpuInWordsOfWebgpu(): Promise<Engine> {
  const engine = createOnnxEngine({ ...(await onnxCpu(1)), dialect: WEBGPU_DIALECT })
  onTestFinished(() => {
    engine.dispose()
  })
  return engine
}

async function results(engine: Engine, one: NamedStep): Promise<Record<string, Float32Array>> {
  placeFor(engine, one)
  const returned = await (await compiled(engine, one.step)).run(inputsFor(one))
  for (const name of one.step.writes) returned[name] = await engine.read(name)
  return returned
}

describe('spelled out for WebGPU', () => {
  it.each(STEPS)('is the same: $name', async (one) => {
    const expected = await results(await freshEngine('onnx'), one)
    const actual = await results(await cpuInWordsOfWebgpu(), one)
    expect(Object.keys(actual)).toEqual(Object.keys(expected))
    for (const [name, values] of Object.entries(expected))
      expectClose(actual[name]!, values, { relative: 1e-4 }, name)
  })

  it.each(['float16', 'int8'] as const)('a matrix in %s is the numbers that it stands for', async (type) => {
    const [kept, spelled] = [await freshEngine('onnx'), await cpuInWordsOfWebgpu()]
    for (const engine of [kept, spelled])
      engine.place('w', normal('w', [5, 7]), { storage: type === 'int8' ? { type, axis: 0 } : { type } })
    expect(await spelled.read('w')).toEqual(await kept.read('w'))
    expect(spelled.memoryBytes()).toBe(4 * 35)
  })
})
