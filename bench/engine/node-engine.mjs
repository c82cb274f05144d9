// A competitor: one of our engines, or our step on tfjs's wasm backend. `run expert 3` makes three steps.
import { parseArgs } from 'node:util'
import { selectEngine } from '../../packages/model/dist/index.js'
import { createEagerEngine } from '../../packages/model/dist/engine/eager-engine.js'
import { serve } from './line-protocol.mjs'
import { createSteps } from './workload.mjs'

const { values: flags } = parseArgs({
  options: { engine: { type: 'string' }, work: { type: 'string' }, threads: { type: 'string' } },
})

async function loadEngine(name, threads) {
  if (name !== 'tfjs-wasm') return (await selectEngine({ engine: name, threads })).engine
  const tf = await import('@tensorflow/tfjs-core')
  tf.enableProdMode()
  await import('@tensorflow/tfjs-backend-wasm')
  await tf.setBackend('wasm')
  return createEagerEngine('wasm', 'wasm', "tfjs's wasm backend, SIMD, 1 thread")
}

const engine = await loadEngine(flags.engine, Number(flags.threads))
const steps = createSteps(engine, JSON.parse(flags.work))

await serve(async ([verb, kind, count]) => {
  if (verb === 'describe') return { device: engine.device }
  const ms = []
  const cpuBefore = process.cpuUsage()
  for (let i = 0; i < Number(count); i++) {
    const before = performance.now()
    await steps.run(kind)
    ms.push(performance.now() - before)
  }
  const { user, system } = process.cpuUsage(cpuBefore)
  return { ms, cpuMs: (user + system) / 1000 / Number(count) }
})
