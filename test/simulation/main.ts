/* eslint-disable no-console -- a command line */
import { runScenario, scenarioOf } from './support/scenario.ts'

// One seed a line; the first that fails ends it with the command that repeats it.
const [first, last] = process.argv.slice(2).map(Number) as [number, number]
process.on('unhandledRejection', (error) => {
  console.error(error)
  process.exit(1)
})
let failed = 0
for (let seed = first; seed <= last; seed++) {
  const started = performance.now()
  const { scenario, violations, loss, consensus, cells } = await runScenario(scenarioOf(seed))
  const { peers, codec, churn, partition, stragglers, realKeys } = scenario
  console.log(
    `${violations.length === 0 ? 'ok' : 'FAILED'} seed ${seed}: ${peers} peers in ${cells} cells, ${codec}, ` +
      `churn ${churn.toFixed(2)}, stragglers ${stragglers.toFixed(2)}, ` +
      `partition ${partition === undefined ? 'none' : `${partition.from}..${partition.to}`}` +
      `${realKeys ? ', Ed25519' : ''}: loss ${loss.toFixed(4)}, ${(100 * consensus).toFixed(3)} % apart ` +
      `(${((performance.now() - started) / 1000).toFixed(1)} s)`,
  )
  for (const violation of violations) console.log(`  ${violation}`)
  if (violations.length > 0) {
    failed++
    console.log(`  repeat it with: npm run test:simulation -- --seed ${seed}`)
  }
}
process.exit(failed === 0 ? 0 : 1)
