import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { AUTO_ENGINES, type Engine, ENGINES } from '../src/engine/engine.ts'
import { probe } from '../src/engine/probe.ts'
import { record } from '../src/engine/recorder.ts'
import { selectEngine } from '../src/engine/select.ts'
import { engineContract } from './contract/engine.ts'
import { floats, normal } from './helpers/arrays.ts'
import { expectSame } from './helpers/compare.ts'
import { type Build, compiled, countingSessions, freshEngine, pureStep, runOnce } from './helpers/engines.ts'
import { trainedLayout } from '../src/parameters.ts'
import { decodeStep, evaluationStep } from '../src/steps.ts'
import { DATA, mixtureOf, TINY, tinyTrainer } from './helpers/models.ts'
import { refusal } from './helpers/refusals.ts'
import { inputsFor, type NamedStep, placeFor, STEPS } from './helpers/steps.ts'

const x = floats([3], [1, 2, 3])
/** Something that makes a step large, and that nothing computes with. */
const BALLAST = floats([1 << 25], new Float32Array(1 << 25))

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

describe.each(['onnx', 'onnx-wasm'] as const)('a large step on %s', (name) => {
  const results = async (one: NamedStep) => {
    const engine = await freshEngine(name)
    placeFor(engine, one)
    engine.place('ballast', BALLAST)
    const returned = await (await compiled(engine, one.step)).run(inputsFor(one))
    for (const array of one.step.writes) returned[array] = await engine.read(array)
    return returned
  }

  it.each(STEPS.filter(({ experts }) => experts === 4))(
    'is listed otherwise, and the same: $name',
    async (one) => {
      const expected = await results(one)
      const reads = [...one.step.reads, 'ballast']
      const actual = await results({ ...one, step: { ...one.step, reads } })
      for (const [array, values] of Object.entries(expected)) expectSame(actual[array]!, values, array)
    },
  )
})

it.skipIf(process.arch !== 'x64')(
  'numbers below float32’s normal range are zero on onnx: Intel is slow with them',
  async () => {
    const engine = await freshEngine('onnx')
    const x = floats([2], [1e-10, 1e-30])
    const { y } = await runOnce(engine, { x }, (t) => ({ y: tf.mul(t['x']!, 1e-30) }))
    // By bits: this thread, too, takes them for zero now.
    expect([...new Uint32Array(y!.buffer)]).toEqual([0, 0])
  },
)

it('a token is awaited, a batch is not', () => {
  const model = TINY
  const mixture = mixtureOf(2)
  const of = { model, mixture, layout: trainedLayout(model, mixture) }
  expect(decodeStep({ ...of, tokens: 1, past: 8 }).isAwaited).toBe(true)
  expect(evaluationStep({ ...of, batch: 1, context: 8 }).isAwaited).toBeUndefined()
})

describe('sessions of large steps', () => {
  const square: Build = (t) => {
    const all = tf.mul(tf.reshape(t['x']!, [2048, 1]), tf.reshape(t['x']!, [1, 2048]))
    return { y: tf.sum(tf.add(tf.exp(all), tf.add(all, 1))) }
  }
  const x = normal('x', [2048])

  it('take turns in memory; one that is awaited stays', async () => {
    const { engine, sessions } = await countingSessions()
    engine.place('ballast', BALLAST)
    const program = async (name: string, isAwaited = false) =>
      compiled(engine, { ...pureStep({ x }, square), name, reads: ['ballast'], isAwaited })
    const alive = () => sessions.filter(({ isReleased }) => !isReleased).length
    const one = await program('one')
    const first = await one.run({ x: x.values })
    const before = alive()

    const awaited = await program('awaited', true)
    expect(alive()).toBe(before + 1)
    const other = await program('other')
    expect(await other.run({ x: x.values })).toEqual(first)
    await awaited.run({ x: x.values })
    expect(alive()).toBe(before + 1)

    const made = sessions.length
    expect(await one.run({ x: x.values })).toEqual(first)
    expect(await one.run({ x: x.values })).toEqual(first)
    await awaited.run({ x: x.values })
    expect(sessions.length).toBe(made + 1)
    expect(alive()).toBe(before + 1)
  })
})

describe('selectEngine', () => {
  it.each(['onnx', 'onnx-wasm', 'cpu'] as const)('loads %s when asked to, and says so', async (name) => {
    const { engine, reason } = await selectEngine({ engine: name })
    expect(engine.name).toBe(name)
    expect(reason).toContain(`--engine ${name}`)
    engine.dispose()
  })

  it('takes onnx by itself, with the threads it is told', async () => {
    const { engine, reason } = await selectEngine({ engine: 'auto', threads: 2 })
    expect(engine.name).toBe('onnx')
    expect(engine.device).toContain('2 threads')
    expect(reason).toBe('the fastest here')
    engine.dispose()
  })

  it('never takes the oracle, nor a GPU that may be none, by itself', () => {
    expect(AUTO_ENGINES).toEqual(['onnx', 'tensorflow', 'onnx-wasm'])
    expect(ENGINES).toEqual(expect.arrayContaining([...AUTO_ENGINES]))
  })
})

describe('the probe of an engine', () => {
  it('finds nothing wrong where nothing is', async () => {
    const engine = await freshEngine('onnx')
    expect(await probe(engine)).toBeUndefined()
    expect(engine.memoryBytes()).toBe(0)
  })

  it('finds wrong numbers', async () => {
    const engine = await freshEngine('onnx')
    const wrong: Engine = { ...engine, read: async (name) => (await engine.read(name)).map((x) => x + 0.01) }
    expect(await probe(wrong)).toContain('2.01')
  })

  it('finds a driver that fails', async () => {
    const engine = await freshEngine('onnx')
    const failing: Engine = { ...engine, compile: () => Promise.reject(new Error('no adapter\nat line 3')) }
    expect(await probe(failing)).toBe('no adapter')
  })
})

it('compiles each kind of step once, whatever is trained or evaluated', async () => {
  const engine = await freshEngine('onnx')
  const names: string[] = []
  const counting: Engine = {
    ...engine,
    compile: (step) => {
      names.push(step.name)
      return engine.compile(step)
    },
  }
  const trainer = await tinyTrainer(counting, mixtureOf(2))
  await trainer.trainExperts(3)
  await trainer.evaluate(DATA.valid)
  await trainer.trainRouters(2)
  await trainer.addShared(new Float32Array(trainer.layout.sharedSize))
  trainer.restore(await trainer.save(), 'a checkpoint')
  await trainer.trainExperts(2)
  await trainer.trainRouters(1)
  await trainer.evaluate(DATA.train, 1)
  expect(names).toEqual(['expert step', 'evaluation', 'router step'])
})
