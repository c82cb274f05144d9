import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { record } from '../src/engine/recorder.ts'
import { selectEngine } from '../src/engine/select.ts'
import { engineContract } from './contract/engine.ts'
import { floats } from './helpers/arrays.ts'
import { freshEngine, pureStep, runOnce } from './helpers/engines.ts'
import { refusal } from './helpers/refusals.ts'

const x = floats([3], [1, 2, 3])

for (const name of ['onnx', 'onnx-wasm', 'cpu'] as const) engineContract(name)

describe('tracing', () => {
  it('refuses a step that reads a value', async () => {
    const engine = await freshEngine('onnx')
    const step = pureStep({ x }, (t) => ({ y: tf.mul(t['x']!, t['x']!.dataSync()[0]!) }))
    expect(await refusal(() => engine.compile(step))).toEqual({
      code: 'VALUE_READ_WHILE_TRACING',
      step: 'test',
    })
  })

  it('refuses a kernel that has no lowering', async () => {
    const engine = await freshEngine('onnx')
    const step = pureStep({ x }, (t) => ({ y: tf.sin(t['x']!) }))
    expect(await refusal(() => engine.compile(step))).toEqual({
      code: 'KERNEL_UNSUPPORTED',
      kernel: 'Sin',
      engine: 'onnx',
    })
  })

  it('gives the backend back, and the tensors of a step that failed', async () => {
    const engine = await freshEngine('cpu')
    const y = await runOnce(engine, { x }, (t) => ({ y: tf.neg(t['x']!) }))
    const before = { backend: tf.getBackend(), tensors: tf.memory().numTensors }
    const specs = { x: { shape: [3], dtype: 'float32' as const } }
    await refusal(() => record('failing', specs, (t) => ({ y: tf.sin(tf.exp(t['x']!)) })))
    record('working', specs, (t) => ({ y: tf.exp(t['x']!) }))
    expect({ backend: tf.getBackend(), tensors: tf.memory().numTensors }).toEqual(before)
    expect([...y['y']!]).toEqual([-1, -2, -3])
  })
})

describe('selectEngine', () => {
  it.each(['onnx', 'cpu'] as const)('loads %s when asked to, and says so', async (name) => {
    const { engine, reason } = await selectEngine({ engine: name })
    expect(engine.name).toBe(name)
    expect(reason).toContain(`--engine ${name}`)
    engine.dispose()
  })

  it('takes onnx by itself, with the threads it is told', async () => {
    const { engine } = await selectEngine({ engine: 'auto', threads: 2 })
    expect(engine.name).toBe('onnx')
    expect(engine.device).toContain('2 threads')
    engine.dispose()
  })

  it('says what is missing', async () => {
    const detail = await refusal(() => selectEngine({ engine: 'tensorflow' }))
    expect(detail).toMatchObject({ code: 'ENGINE_UNAVAILABLE', engine: 'tensorflow' })
    expect(detail).toHaveProperty('reason', expect.stringContaining('@tensorflow/tfjs-node-gpu'))
  })
})
