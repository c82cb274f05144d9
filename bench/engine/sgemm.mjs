// The machine's own float32 peak: ONNX Runtime's plain MatMul at the shapes of the step. A competitor like the others:
// `run sgemm 1` answers with GFLOP/s by shape.
import { parseArgs } from 'node:util'
import { selectEngine, stream } from '../../packages/model/dist/index.js'
import * as tf from '@tensorflow/tfjs-core'
import { serve } from './line-protocol.mjs'

/** A turn at one shape lasts about as long as the step's own products. */
const TURN_MS = 100

const { values: flags } = parseArgs({ options: { work: { type: 'string' }, threads: { type: 'string' } } })
const { engine } = await selectEngine({ engine: 'onnx', threads: Number(flags.threads) })
const { model, batch, context } = JSON.parse(flags.work)
const rows = batch * context
const { width, hidden, vocabSize } = model

const products = []
for (const [m, k, n] of [
  [rows, width, 3 * width],
  [rows, width, hidden],
  [rows, hidden, width],
  [rows, width, vocabSize],
]) {
  const key = `${m}x${k}x${n}`
  const place = (name, shape) => {
    const random = stream(3, name)
    const values = new Float32Array(shape[0] * shape[1])
    for (let i = 0; i < values.length; i++) values[i] = random.float() - 0.5
    engine.place(name, { shape, dtype: 'float32', values })
  }
  place(`${key}.a`, [m, k])
  place(`${key}.b`, [k, n])
  place(`${key}.c`, [m, n])
  const program = await engine.compile({
    name: key,
    reads: [`${key}.a`, `${key}.b`, `${key}.c`],
    writes: [`${key}.c`], // written in place: no copy of the result counts
    inputs: {},
    build: (t) => ({ [`${key}.c`]: tf.matMul(t[`${key}.a`], t[`${key}.b`]) }),
  })
  products.push({ key, flops: 2 * m * k * n, program })
}

await serve(async ([verb]) => {
  if (verb === 'describe') return { device: engine.device }
  const gflops = {}
  for (const { key, flops, program } of products) {
    await program.run({})
    const started = performance.now()
    let best = Infinity
    do {
      const before = performance.now()
      await program.run({})
      best = Math.min(best, performance.now() - before)
    } while (performance.now() - started < TURN_MS)
    gflops[key] = flops / best / 1e6
  }
  return { gflops }
})
