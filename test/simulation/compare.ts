/* eslint-disable no-console -- a command line */
import { quiet, runScenario } from './support/scenario.ts'

/** 30 % of the peers killed every five rounds cost at most 2 % of the final loss; alone it would be much worse. */
const CHURN = 0.3
const MOST_COSTS = 0.02

let failed = false
for (const seed of [1, 2, 3]) {
  const arms = [quiet(seed, {}), quiet(seed, { churn: CHURN }), quiet(seed, { exchange: false })]
  const [still, churned, alone] = await Promise.all(arms.map(async (arm) => (await runScenario(arm)).loss))
  const costs = churned! / still! - 1
  const isWithin = costs <= MOST_COSTS && alone! / still! - 1 > 2 * MOST_COSTS
  failed ||= !isWithin
  console.log(
    `${isWithin ? 'ok' : 'FAILED'} churn ${CHURN}, seed ${seed}: loss ${churned!.toFixed(4)}, ` +
      `${still!.toFixed(4)} without churn (${(100 * costs).toFixed(2)} %), ${alone!.toFixed(4)} without exchange`,
  )
}
process.exit(failed ? 1 : 0)
