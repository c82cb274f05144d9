/* eslint-disable no-console -- a command line */
import { parseArgs } from 'node:util'
import { type Attack, ATTACKS } from './support/attackers.ts'
import { quiet, runScenario, type Scenario } from './support/scenario.ts'

// What do bad peers cost honest ones, with and without the defences? Loss of the honest against the same honest peers
// among themselves, and against training alone.

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    attacks: { type: 'string', default: ATTACKS.join(',') },
    shares: { type: 'string', default: '0.1,0.2,0.3' },
    seed: { type: 'string', default: '1' },
  },
})
/** Two cells. */
const PEERS = 20
const seed = Number(options.seed)
const shares = options.shares.split(',').map(Number)

/** Liars about snapshots need peers that ask for some. */
const needsChurn = (attack: Attack) => attack === 'snapshot-liar'

const lossOf = async (what: Partial<Scenario>): Promise<number> =>
  (await runScenario(quiet(seed, { faulty: 15, calm: 10, ...what }))).loss

interface Row {
  readonly attack: Attack
  readonly share: number
  readonly peers: number
  /** Perplexity proxy exp(loss), relative to no attackers: 0.03 is 3 % worse. */
  readonly defended: number
  readonly undefended: number
  readonly alone: number
}

const baselines = new Map<string, Promise<number>>()
/** The honest peers among themselves. */
const baseline = (peers: number, churn: number, exchange: boolean): Promise<number> => {
  const key = `${peers} ${churn} ${exchange}`
  const found = baselines.get(key) ?? lossOf({ peers, churn, exchange, robust: exchange })
  baselines.set(key, found)
  return found
}

const worse = (loss: number, than: number): number => Math.exp(loss - than) - 1
const percent = (value: number): string =>
  Number.isFinite(value) && value < 100 ? `${(100 * value).toFixed(1)} %` : 'destroyed'

const rows: Row[] = []
for (const attack of options.attacks.split(',') as Attack[]) {
  for (const share of shares) {
    const bad = Math.round(share * PEERS)
    const churn = needsChurn(attack) ? 0.3 : 0
    const arm = (robust: boolean) =>
      lossOf({ peers: PEERS, churn, robust, attack: { kind: attack, peers: bad } })
    const [without, defended, undefended, alone] = [
      await baseline(PEERS - bad, churn, true),
      await arm(true),
      await arm(false),
      await baseline(PEERS - bad, churn, false),
    ]
    const row: Row = {
      attack,
      share,
      peers: bad,
      defended: worse(defended, without),
      undefended: worse(undefended, without),
      alone: worse(alone, without),
    }
    rows.push(row)
    console.error(
      `${attack.padEnd(17)} ${bad} of ${PEERS}: defended ${percent(row.defended)}, ` +
        `undefended ${percent(row.undefended)}, alone ${percent(row.alone)}`,
    )
  }
}
if (options.json) console.log(JSON.stringify({ seed, peers: PEERS, rows }, undefined, 2))

/** What must hold: a fifth of sign-flip or scaled attackers cost at most 3 %. */
const failed = rows.filter(
  ({ attack, share, defended }) =>
    ['sign-flip', 'scaled'].includes(attack) && share <= 0.2 && defended > 0.03,
)
for (const { attack, share, defended } of failed)
  console.error(`FAILED: ${attack} by ${100 * share} % costs ${percent(defended)} with the defences`)
process.exit(failed.length === 0 ? 0 : 1)
