// What does a token cost with a key-value cache, and what without? See README.md.
import { parseArgs } from 'node:util'
import {
  baseLayout,
  createDecoder,
  createTrainer,
  namedArrays,
  NO_EXPERTS,
  placeBase,
  selectEngine,
  stream,
} from '@comigs/model'

const SHAPES = {
  demo: { vocabSize: 4096, positions: 512, width: 256, layers: 4, heads: 4, hidden: 1024 },
  small: { vocabSize: 4096, positions: 512, width: 128, layers: 4, heads: 4, hidden: 512 },
  gpt2: { vocabSize: 50257, positions: 1024, width: 768, layers: 12, heads: 12, hidden: 3072 },
}
/** Texts that long are continued. */
const LENGTHS = [16, 64, 128, 256, 448, 960]
/** Tokens written in a row for one figure. */
const WRITTEN = 8

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    shape: { type: 'string', default: 'demo' },
    experts: { type: 'string', default: '2' },
    threads: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '5' },
  },
})
if (SHAPES[flags.shape] === undefined) {
  console.error(`--shape ${flags.shape}: expected one of ${Object.keys(SHAPES).join(', ')}`)
  process.exit(2)
}
const model = { architecture: 'gpt2', epsilon: 1e-5, ...SHAPES[flags.shape] }
const [experts, threads, rounds] = [flags.experts, flags.threads, flags.rounds].map(Number)
const mixture = experts === 0 ? NO_EXPERTS : { experts, rank: 8, alpha: 16, routing: 'router' }

const { engine } = await selectEngine({ engine: 'auto', threads })
const layout = baseLayout(model)
const random = stream(1, 'bench')
// Random weights do for speed.
const flat = Float32Array.from({ length: layout.size }, () => 0.04 * (random.float() - 0.5))
const base = { config: model, arrays: namedArrays(layout, flat), hashes: {} }
placeBase(engine, base)
const nothing = { tokens: new Int32Array(), groups: [] }
if (experts > 0) {
  const schedule = { kind: 'constant', rate: 0, warmupSteps: 1 }
  const rest = { routerRate: 0, weightDecay: 0, balance: 0, sharedSeed: 1, seed: 2 }
  const options = { mixture, batch: 1, context: 1, schedule, ...rest }
  await createTrainer(engine, base, { train: nothing, valid: nothing }, options)
}
const decoder = createDecoder(engine, model, mixture)
const text = Int32Array.from({ length: model.positions }, () => random.below(model.vocabSize))
const timed = async (run) => {
  const started = performance.now()
  await run()
  return performance.now() - started
}
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1]

const cases = []
for (const length of LENGTHS.filter((one) => one + WRITTEN * rounds < model.positions)) {
  const reading = decoder.open()
  await reading.append(text.slice(0, length))
  await reading.append([1]) // makes the program that the figures are about
  cases.push({ length, reading, cached: [], whole: [] })
}
// In turns, so that whatever else this machine does meets all alike.
for (let round = 0; round < rounds; round++) {
  for (const { length, reading, cached, whole } of cases) {
    const written = await timed(async () => {
      for (let i = 0; i < WRITTEN; i++) await reading.append([i])
    })
    cached.push(written / WRITTEN)
    // Without a cache a token costs what reading the whole text costs.
    whole.push(await timed(() => decoder.open().append(text.slice(0, length))))
  }
}
const results = cases.map(({ length, cached, whole }) => ({
  promptTokens: length,
  msPerToken: Number(median([...cached]).toFixed(2)),
  tokensPerSecond: Math.round(1000 / median([...cached])),
  msRecomputing: Number(median([...whole]).toFixed(2)),
  timesFaster: Number(median(whole.map((ms, i) => ms / cached[i])).toFixed(1)),
}))
const { device } = engine
engine.dispose()
if (flags.json) console.log(JSON.stringify({ shape: flags.shape, experts, threads, device, results }))
else console.table(results)
