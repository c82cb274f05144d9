// How many tokens a second does one CoMiGS training step make on each engine that loads here? See README.md.
import { parseArgs } from 'node:util'
import {
  baseLayout,
  createTrainer,
  ENGINES,
  namedArrays,
  placeBase,
  selectEngine,
  stream,
} from '@comigs/model'

const SHAPES = {
  demo: { vocabSize: 4096, positions: 256, width: 256, layers: 4, heads: 4, hidden: 1024 },
  small: { vocabSize: 4096, positions: 256, width: 128, layers: 4, heads: 4, hidden: 512 },
  gpt2: { vocabSize: 50257, positions: 1024, width: 768, layers: 12, heads: 12, hidden: 3072 },
}
const BATCH = 8
const CONTEXT = 128

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    shape: { type: 'string', default: 'demo' },
    threads: { type: 'string', default: '2' },
    steps: { type: 'string', default: '10' },
  },
})
const model = { architecture: 'gpt2', epsilon: 1e-5, ...SHAPES[flags.shape] }
if (SHAPES[flags.shape] === undefined) {
  console.error(`--shape ${flags.shape}: expected one of ${Object.keys(SHAPES).join(', ')}`)
  process.exit(2)
}

/** Random weights do for speed. */
function randomBase() {
  const layout = baseLayout(model)
  const random = stream(1, 'bench')
  const flat = Float32Array.from({ length: layout.size }, () => 0.04 * (random.float() - 0.5))
  return { config: model, arrays: namedArrays(layout, flat), hashes: {} }
}

function randomTokens() {
  const random = stream(2, 'bench')
  const tokens = Int32Array.from({ length: 20_000 }, () => random.below(model.vocabSize))
  return { tokens, groups: [{ name: 'random', from: 0, to: tokens.length }] }
}

async function measure(name, threads, steps) {
  const { engine } = await selectEngine({ engine: name, threads })
  const base = randomBase()
  placeBase(engine, base)
  const set = randomTokens()
  const started = performance.now()
  const trainer = await createTrainer(
    engine,
    base,
    { train: set, valid: set },
    {
      mixture: { experts: 2, rank: 8, alpha: 16, routing: 'router' },
      batch: BATCH,
      context: CONTEXT,
      schedule: { kind: 'constant', rate: 2e-3, warmupSteps: 1 },
      routerRate: 2e-3,
      weightDecay: 0.01,
      balance: 0.01,
      sharedSeed: 1,
      seed: 2,
    },
  )
  await trainer.trainExperts(1)
  const firstStepMs = performance.now() - started
  const times = []
  for (let i = 0; i < steps; i++) {
    const before = performance.now()
    await trainer.trainExperts(1)
    times.push(performance.now() - before)
  }
  times.sort((a, b) => a - b)
  const msPerStep = times[times.length >> 1]
  const device = engine.device
  engine.dispose()
  return {
    name,
    device,
    threads,
    msPerStep: Number(msPerStep.toFixed(1)),
    tokensPerSecond: Math.round((BATCH * CONTEXT * 1000) / msPerStep),
    firstStepMs: Math.round(firstStepMs),
    peakRssMB: Math.round(process.resourceUsage().maxRSS / 1024),
  }
}

const results = []
for (const name of ENGINES) {
  try {
    // The oracle takes half a minute a step.
    results.push(await measure(name, Number(flags.threads), name === 'cpu' ? 1 : Number(flags.steps)))
  } catch (error) {
    if (error.detail?.code !== 'ENGINE_UNAVAILABLE') throw error
    console.error(error.message)
  }
}
if (flags.json) console.log(JSON.stringify({ shape: flags.shape, batch: BATCH, context: CONTEXT, results }))
else console.table(results)
