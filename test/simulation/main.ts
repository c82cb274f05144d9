/* eslint-disable no-console -- a command line */
import { codecOf } from '../../packages/protocol/src/index.ts'
import { runScenario, scenarioOf } from './support/scenario.ts'

// One seed a line, every `step`-th; one that fails says how to repeat it.
Error.stackTraceLimit = 3 // the protocol makes errors all the time, and nobody reads their stacks here
const [first, last, step] = process.argv.slice(2, 5).map(Number) as [number, number, number]
/** Instead of as many as the seed says. */
const size = process.argv[5] === '' ? {} : { peers: Number(process.argv[5]) }
process.on('unhandledRejection', (error) => {
  console.error(error)
  process.exit(1)
})
let failed = 0
for (let seed = first; seed <= last; seed += step) {
  const started = performance.now()
  const { scenario, violations, loss, consensus, cells } = await runScenario({ ...scenarioOf(seed), ...size })
  const { peers, codec, churn, partition, stragglers, unequal, realKeys, robust, momentum } = scenario
  console.log(
    `${violations.length === 0 ? 'ok' : 'FAILED'} seed ${seed}: ${peers} peers in ${cells} cells, ${codecOf(codec).name}, ` +
      `churn ${churn.toFixed(2)}, stragglers ${stragglers.toFixed(2)}, ` +
      `partition ${partition === undefined ? 'none' : `${partition.from}..${partition.to}`}` +
      `${unequal ? ', unequal H' : ''}${realKeys ? ', Ed25519' : ''}${robust ? ', robust' : ''}` +
      `${momentum === undefined ? '' : `, momentum ${momentum}`}: loss ${loss.toFixed(4)}, ${(100 * consensus).toFixed(3)} % apart ` +
      `(${((performance.now() - started) / 1000).toFixed(1)} s)`,
  )
  for (const violation of violations) console.log(`  ${violation}`)
  if (violations.length > 0) {
    failed++
    console.log(
      `  repeat it with: npm run test:simulation -- --seed ${seed}${size.peers === undefined ? '' : ` --peers ${size.peers}`}`,
    )
  }
}
process.exit(failed === 0 ? 0 : 1)
