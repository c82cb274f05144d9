// How few bytes will do? See README.md.
import { parseArgs } from 'node:util'
import { machine } from '../machine.mjs'
import { rounded } from '../statistics.mjs'
import { runSwarm } from '../swarm.mjs'

/** Ways to write deltas down, as flags of `comigs-peer swarm`; off: everyone alone. */
const ARMS = {
  off: { '--strategy': 'local' },
  float32: { '--codec': 'float32' },
  int8: { '--codec': 'int8' },
  int4: { '--codec': 'int4' },
  'top 0.4 int4': { '--codec': 'int4', '--share': 0.4 },
  'top 0.2 int4': { '--codec': 'int4', '--share': 0.2 },
  'top 0.05 int4': { '--codec': 'int4', '--share': 0.05 },
}

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    peers: { type: 'string', default: '8' },
    rounds: { type: 'string', default: '24' },
    seeds: { type: 'string', default: '42' },
    only: { type: 'string' },
  },
})
const wanted = flags.only?.split(',') ?? Object.keys(ARMS)
const unknown = wanted.find((arm) => !(arm in ARMS))
if (unknown !== undefined) {
  console.error(`--only ${unknown}: expected some of ${Object.keys(ARMS).join(', ')}`)
  process.exit(2)
}
const seeds = flags.seeds.split(',').map(Number)

const runs = []
for (const seed of seeds) {
  for (const arm of wanted) {
    console.error(`seed ${seed}, ${arm} ...`)
    const result = await run(arm, seed)
    console.error(JSON.stringify(result))
    runs.push({ arm, seed, ...result })
  }
}
if (flags.json)
  console.log(
    JSON.stringify({ peers: Number(flags.peers), rounds: Number(flags.rounds), machine: machine(), runs }),
  )
else console.table(wanted.map(row))

/** One swarm: what a peer sends a round once all have met, announcements included, and what comes of it. */
async function run(arm, seed) {
  const sent = new Map()
  const { peers } = await runSwarm(
    { '--peers': flags.peers, '--rounds': flags.rounds, '--seed': seed, '--target': 'mixture', ...ARMS[arm] },
    (peer, event) => {
      if (event.event === 'round') sent.set(peer, [...(sent.get(peer) ?? []), event.bytes.sent])
    },
  )
  const aRound = [...sent.values()].map((bytes) => (bytes.at(-1) - bytes[0]) / (bytes.length - 1))
  return {
    bytesAPeerAndRound: Math.round(mean(aRound)),
    perplexity: mean(peers.map((peer) => peer.perplexity)),
    basePerplexity: mean(peers.map((peer) => peer.basePerplexity)),
    consensusDistance: mean(peers.map((peer) => peer.consensusDistance)),
  }
}

/** Means over seeds; against float32 where it was run. */
function row(arm) {
  const of = (name, key) => mean(runs.filter((one) => one.arm === name).map((one) => one[key]))
  const percent = runs
    .filter((one) => one.arm === arm)
    .map((one) => {
      const exact = runs.find((other) => other.arm === 'float32' && other.seed === one.seed)
      return exact && 100 * (one.perplexity / exact.perplexity - 1)
    })
  return {
    deltas: arm,
    'bytes a peer and round': Math.round(of(arm, 'bytesAPeerAndRound')),
    'times below float32': rounded(of('float32', 'bytesAPeerAndRound') / of(arm, 'bytesAPeerAndRound')),
    'test perplexity': rounded(of(arm, 'perplexity'), 2),
    'against float32, % (each seed)': percent.map((one) => rounded(one ?? NaN, 2)).join(', '),
    base: rounded(of(arm, 'basePerplexity'), 2),
    distance: rounded(of(arm, 'consensusDistance'), 4),
  }
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
