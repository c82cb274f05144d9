// How much memory does a training step take, by shape and by how the frozen base is kept?
//   npm run --silent bench:memory -- --shape 1b --base-dtype int8
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { BASE_DTYPES, baseLayout, createTrainer, placeBase, selectEngine, stream } from '@comigs/model'

const gpt2 = { architecture: 'gpt2', epsilon: 1e-5 }
const llama = { architecture: 'llama', epsilon: 1e-5, rope: { theta: 10_000 }, tied: false }
const tinyLlama = {
  ...llama,
  ...{ vocabSize: 32000, positions: 2048, width: 2048, layers: 22 },
  ...{ heads: 32, kvHeads: 4, headWidth: 64, hidden: 5632 },
}
const SHAPES = {
  demo: {
    model: { ...gpt2, vocabSize: 4096, positions: 256, width: 256, layers: 4, heads: 4, hidden: 1024 },
    batch: 8,
  },
  gpt2: {
    model: { ...gpt2, vocabSize: 50257, positions: 1024, width: 768, layers: 12, heads: 12, hidden: 3072 },
    batch: 8,
  },
  // 1,100 million parameters.
  tinyllama: { model: tinyLlama, batch: 1 },
  // 1,012 million.
  '1b': { model: { ...tinyLlama, layers: 20 }, batch: 1 },
}
const CONTEXT = 128
const MB = 1 << 20

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    shape: { type: 'string', multiple: true, default: ['demo', 'gpt2'] },
    'base-dtype': { type: 'string', multiple: true, default: ['float32', 'float16', 'int8'] },
    experts: { type: 'string', default: '2' },
    /** Sequences in a batch, instead of the shape's own. */
    batch: { type: 'string' },
    threads: { type: 'string', default: '1' },
    steps: { type: 'string', default: '3' },
    /** Measure here; otherwise each case has a process of its own. */
    here: { type: 'boolean', default: false },
  },
})
for (const [flag, allowed] of [
  ['shape', Object.keys(SHAPES)],
  ['base-dtype', BASE_DTYPES],
]) {
  const wrong = flags[flag].find((value) => !allowed.includes(value))
  if (wrong === undefined) continue
  console.error(`--${flag} ${wrong}: expected one of ${allowed.join(', ')}`)
  process.exit(2)
}

/** Random weights do for memory. Each array is made when the engine asks for it and let go when it has stored it. */
function randomBase(config) {
  const random = stream(1, 'bench')
  const noise = Float32Array.from({ length: 1 << 20 }, () => 0.04 * (random.float() - 0.5))
  return {
    config,
    arrays: {
      *[Symbol.iterator]() {
        for (const { name, shape, size } of baseLayout(config).entries) {
          const values = new Float32Array(size)
          for (let at = 0; at < size; at += noise.length)
            values.set(noise.subarray(0, Math.min(noise.length, size - at)), at)
          yield { name, shape, values }
        }
      },
    },
    hashes: {},
  }
}

function randomTokens(vocabSize) {
  const random = stream(2, 'bench')
  const tokens = Int32Array.from({ length: 20_000 }, () => random.below(vocabSize))
  return { tokens, groups: [{ name: 'random', from: 0, to: tokens.length }] }
}

async function measure(shape, dtype) {
  const { model } = SHAPES[shape]
  const batch = Number(flags.batch ?? SHAPES[shape].batch)
  const { engine } = await selectEngine({ engine: 'onnx', threads: Number(flags.threads) })
  const base = randomBase(model)
  placeBase(engine, base, dtype)
  const baseMB = Math.round(engine.memoryBytes() / MB)
  const set = randomTokens(model.vocabSize)
  const trainer = await createTrainer(
    engine,
    base,
    { train: set, valid: set },
    {
      mixture: { experts: Number(flags.experts), rank: 8, alpha: 16, routing: 'router' },
      batch,
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
  const started = performance.now()
  const { loss } = await trainer.trainExperts(Number(flags.steps))
  return {
    shape,
    parameters: baseLayout(model).size,
    trained: trainer.layout.experts.size + trainer.layout.router.size,
    tokens: batch * CONTEXT,
    baseDtype: dtype,
    baseMB,
    engineMB: Math.round(engine.memoryBytes() / MB),
    peakRssMB: Math.round(process.resourceUsage().maxRSS / 1024),
    msPerStep: Math.round((performance.now() - started) / Number(flags.steps)),
    loss: Number(loss.toFixed(3)),
  }
}

if (flags.here) {
  console.log(JSON.stringify(await measure(flags.shape[0], flags['base-dtype'][0])))
} else {
  const results = []
  for (const shape of flags.shape) {
    for (const dtype of flags['base-dtype']) {
      const { experts, threads, steps } = flags
      const args = ['--here', '--shape', shape, '--base-dtype', dtype]
      const rest = ['--experts', experts, '--threads', threads, '--steps', steps]
      if (flags.batch !== undefined) rest.push('--batch', flags.batch)
      const out = execFileSync(process.execPath, [fileURLToPath(import.meta.url), ...args, ...rest])
      results.push(JSON.parse(out.toString()))
    }
  }
  if (flags.json) console.log(JSON.stringify({ context: CONTEXT, results }))
  else console.table(results)
}
