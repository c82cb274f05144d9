/* eslint-disable no-console -- a command line */
import { type CodecChoice, codecOf } from '../../packages/protocol/src/index.ts'
import { quiet, runScenario } from './support/scenario.ts'

// What must not cost much, against the same swarm without it, and against everyone alone.

const say = (isWithin: boolean, text: string) => {
  if (!isWithin) process.exitCode = 1
  console.log(`${isWithin ? 'ok' : 'FAILED'} ${text}`)
}
const percent = (ratio: number) => `${(100 * ratio).toFixed(2)} %`

/**
 * 30 % of the peers killed every five rounds of 20, never the first, cost at most 2 % of the final loss; alone it would be much
 * worse. Final is after 20 calm rounds, with learning on, ever less, in the first ten: there is time to catch up.
 */
const CHURN = 0.3
const MOST_CHURN_COSTS = 0.02
for (const seed of [1, 2, 3]) {
  const arms = [quiet(seed, {}), quiet(seed, { churn: CHURN }), quiet(seed, { exchange: false })]
  const [still, churned, alone] = await Promise.all(arms.map(async (arm) => (await runScenario(arm)).loss))
  const costs = churned! / still! - 1
  say(
    costs <= MOST_CHURN_COSTS && alone! / still! - 1 > 2 * MOST_CHURN_COSTS,
    `churn ${CHURN}, seed ${seed}: loss ${churned!.toFixed(4)}, ` +
      `${still!.toFixed(4)} without churn (${percent(costs)}), ${alone!.toFixed(4)} without exchange`,
  )
}

/** However long the halves were apart: shorter than anything, until copies are stale (7), and forgotten (100). */
const PARTITIONS = [1, 10, 150]
for (const length of PARTITIONS) {
  const partition = { from: 5, to: 5 + length }
  const apart = quiet(1, { peers: 8, partition, faulty: 5 + length })
  const [healed, alone] = [await runScenario(apart), await runScenario({ ...apart, exchange: false })]
  say(
    healed.violations.length === 0 && alone.consensus > 0.1,
    `a partition of ${length} rounds: ${percent(healed.consensus)} apart ${apart.calm} rounds later, ` +
      `${percent(alone.consensus)} without exchange ${healed.violations.join('; ')}`,
  )
}

/** Three cells, and vectors long enough that bytes are theirs and not the headers'. */
const LARGE = { peers: 24, parameters: 8192, faulty: 8, calm: 6 }
const FLOAT32 = quiet(6, { ...LARGE, codec: { values: 'float32' } })
const LEAST_SMALLER = 8
const MOST_CODEC_COSTS = 0.01
const CELLS = 3
const total = (bytes: Readonly<Record<string, number>>) => Object.values(bytes).reduce((a, b) => a + b, 0)
const [plain, alone] = [await runScenario(FLOAT32), await runScenario({ ...FLOAT32, exchange: false })]
const CODECS: readonly CodecChoice[] = [{ values: 'int4' }, { values: 'int4', topK: 0.2 }]
for (const codec of CODECS) {
  const { loss, consensus, bytes, cells } = await runScenario({ ...FLOAT32, codec })
  const smaller = total(plain.bytes) / total(bytes)
  const costs = loss / plain.loss - 1
  // Dense int4 alone is no eighth of float32: it is shown, not held to that.
  say(
    cells === CELLS &&
      costs <= MOST_CODEC_COSTS &&
      alone.loss / plain.loss - 1 > 2 * MOST_CODEC_COSTS &&
      (codec.topK === undefined || smaller >= LEAST_SMALLER),
    `${codecOf(codec).name} in ${cells} cells: ${Math.round(total(bytes))} bytes a peer and round, ${smaller.toFixed(1)} times ` +
      `fewer than float32 (${Math.round(total(plain.bytes))}); loss ${loss.toFixed(4)}, ${plain.loss.toFixed(4)} with float32 ` +
      `(${percent(costs)}), ${alone.loss.toFixed(4)} without exchange; ${percent(consensus)} apart`,
  )
}
