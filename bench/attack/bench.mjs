// What does a lying peer cost on the demo? See README.md.
import { parseArgs } from 'node:util'
import { machine } from '../machine.mjs'
import { rounded } from '../statistics.mjs'
import { runSwarm } from '../swarm.mjs'

/** One in five lies: how it scales what was learnt, or undefined for nobody. */
const ATTACKS = { nobody: undefined, 'sign-flip': -1, scaled: 10 }
const HONEST = 4
const LIAR = 'de-2'

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '12' },
    seed: { type: 'string', default: '42' },
  },
})

const alone = await run('nobody', { '--strategy': 'local' })
const runs = []
for (const attack of Object.keys(ATTACKS)) {
  for (const defended of [true, false]) {
    const perplexity = await run(attack, defended ? {} : { '--trusting': true })
    runs.push({ attack, defended, perplexity })
  }
}
const of = (attack, defended) =>
  runs.find((one) => one.attack === attack && one.defended === defended).perplexity
const worse = (perplexity) => perplexity / of('nobody', true) - 1
if (flags.json)
  console.log(
    JSON.stringify({
      rounds: Number(flags.rounds),
      seed: Number(flags.seed),
      machine: machine(),
      runs: [...runs, { attack: 'nobody', exchange: false, perplexity: alone }].map((one) => ({
        ...one,
        worse: worse(one.perplexity),
      })),
    }),
  )
else {
  const cell = (perplexity) => `${rounded(perplexity)} (${rounded(100 * worse(perplexity))} %)`
  console.table(
    Object.keys(ATTACKS).map((attack) => ({
      'who lies': attack,
      defended: cell(of(attack, true)),
      trusting: cell(of(attack, false)),
      alone: cell(alone),
    })),
  )
}

/** @returns the honest peers' mean perplexity on the mixture */
async function run(attack, arm) {
  console.error(`${attack}, ${Object.keys(arm)[0] ?? 'defended'} ...`)
  const scale = ATTACKS[attack]
  const lies = scale !== undefined
  const { peers } = await runSwarm(
    {
      '--peers': HONEST + (lies ? 1 : 0),
      '--rounds': flags.rounds,
      '--seed': flags.seed,
      '--target': 'mixture',
      ...arm,
    },
    () => undefined,
    lies
      ? {
          NODE_OPTIONS: `--import=${new URL('liar.mjs', import.meta.url)}`,
          LIAR,
          LIE_SCALE: String(scale),
        }
      : {},
  )
  const honest = peers.filter(({ name }) => name !== LIAR)
  if (honest.length !== HONEST) throw new Error(`expected ${HONEST} honest peers and ${LIAR}`)
  console.error(JSON.stringify(honest.map(({ perplexity }) => rounded(perplexity))))
  return honest.reduce((sum, { perplexity }) => sum + perplexity, 0) / HONEST
}
