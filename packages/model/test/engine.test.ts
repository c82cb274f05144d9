import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import type { Step } from '../src/engine/engine.ts'
import { record } from '../src/engine/recorder.ts'
import { selectEngine } from '../src/engine/select.ts'
import { floats, ints } from './helpers/arrays.ts'
import { compiled, freshEngine, pureStep, runOnce } from './helpers/engines.ts'
import { refusal } from './helpers/refusals.ts'

const x = floats([3], [1, 2, 3])

/** state := 2 state + given; hands the old state back. */
const doubling: Step = {
  name: 'doubling',
  reads: ['state'],
  writes: ['state'],
  inputs: { given: { shape: [3], dtype: 'float32' } },
  build: ({ state, given }) => ({ state: tf.add(tf.mul(state!, 2), given!), old: state! }),
}

describe.each(['cpu', 'onnx'] as const)('the %s engine', (name) => {
  it('keeps arrays by name', async () => {
    const engine = await freshEngine(name)
    engine.place('a', x)
    engine.place('b', floats([2], [7, 8]))
    expect([...(await engine.read('a'))]).toEqual([1, 2, 3])
    engine.place('a', floats([1], [9]))
    expect([...(await engine.read('a'))]).toEqual([9])
    expect(engine.memoryBytes()).toBe(4 * 3)
    engine.remove('a')
    expect(engine.memoryBytes()).toBe(4 * 2)
    expect(await refusal(() => engine.read('a'))).toEqual({ code: 'ARRAY_MISSING', name: 'a' })
  })

  it('hands out copies', async () => {
    const engine = await freshEngine(name)
    engine.place('a', floats([3], x.values))
    ;(await engine.read('a')).fill(0)
    expect([...(await engine.read('a'))]).toEqual([1, 2, 3])
  })

  it('replaces the arrays that a step writes, run after run, and returns the rest', async () => {
    const engine = await freshEngine(name)
    engine.place('state', floats([3], x.values))
    const program = await compiled(engine, doubling)
    const given = Float32Array.of(10, 0, -1)
    const olds: number[][] = []
    for (let i = 0; i < 3; i++) {
      const results = await program.run({ given })
      expect(Object.keys(results)).toEqual(['old'])
      olds.push([...results['old']!])
    }
    expect(olds).toEqual([
      [1, 2, 3],
      [12, 4, 5],
      [34, 8, 9],
    ])
    expect([...(await engine.read('state'))]).toEqual([78, 16, 17])
  })

  it('reads an array that was placed anew since the program was compiled', async () => {
    const engine = await freshEngine(name)
    engine.place('state', floats([3], x.values))
    const program = await compiled(engine, doubling)
    await program.run({ given: new Float32Array(3) })
    engine.place('state', floats([3], [100, 200, 300]))
    await program.run({ given: new Float32Array(3) })
    expect([...(await engine.read('state'))]).toEqual([200, 400, 600])
  })

  it('lets two programs share an array', async () => {
    const engine = await freshEngine(name)
    engine.place('state', floats([3], x.values))
    const [one, other] = [await compiled(engine, doubling), await compiled(engine, doubling)]
    const given = new Float32Array(3)
    await one.run({ given })
    await other.run({ given })
    await one.run({ given })
    expect([...(await engine.read('state'))]).toEqual([8, 16, 24])
  })

  it('refuses a step whose array is missing', async () => {
    const engine = await freshEngine(name)
    const run = async () => (await engine.compile(doubling)).run({ given: new Float32Array(3) })
    expect(await refusal(run)).toEqual({ code: 'ARRAY_MISSING', name: 'state' })
  })

  it.each([
    ['too few elements', { given: new Float32Array(2) }],
    ['nothing', {}],
  ])('refuses an input of %s', async (_, inputs) => {
    const engine = await freshEngine(name)
    engine.place('state', floats([3], x.values))
    const program = await compiled(engine, doubling)
    expect(await refusal(() => program.run(inputs))).toMatchObject({
      code: 'SHAPE_MISMATCH',
      what: 'input "given"',
      expected: '[3]',
    })
  })

  it('leaves no tensor behind', async () => {
    const engine = await freshEngine(name)
    await runOnce(engine, { x }, (t) => ({ y: tf.exp(t['x']!) }))
    const before = tf.memory().numTensors
    engine.place('state', floats([3], x.values))
    const program = await compiled(engine, doubling)
    await program.run({ given: new Float32Array(3) })
    engine.remove('state')
    expect(tf.memory().numTensors).toBe(before)
  })

  it('returns integers and booleans as numbers', async () => {
    const engine = await freshEngine(name)
    const inputs = { i: ints([3], [1, -2, 3]) }
    const results = await runOnce(engine, inputs, ({ i }) => ({
      twice: tf.add(i!, i!),
      above: tf.greater(i!, 0),
    }))
    expect([...results['twice']!]).toEqual([2, -4, 6])
    expect([...results['above']!]).toEqual([1, 0, 1])
  })
})

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
