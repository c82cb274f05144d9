/* eslint-disable no-console -- a command line */
import { parseArgs } from 'node:util'
import { type CodecChoice, codecOf } from '../../packages/protocol/src/index.ts'
import { quiet, runScenario, type Scenario } from './support/scenario.ts'

// What must not cost much, against the same swarm without it, and against everyone alone. Peers defend themselves, as they do by
// default. `--seed N` compares with that seed alone.

const { values: options } = parseArgs({ options: { seed: { type: 'string' } } })
const seedsOr = (...seeds: number[]) => (options.seed === undefined ? seeds : [Number(options.seed)])

const say = (isWithin: boolean, text: string) => {
  if (!isWithin) process.exitCode = 1
  console.log(`${isWithin ? 'ok' : 'FAILED'} ${text}`)
}
const percent = (ratio: number) => `${(100 * ratio).toFixed(2)} %`
const defended = (seed: number, what: Partial<Scenario>) => quiet(seed, { ...what, robust: true })

/**
 * 30 % of the peers killed every five rounds of 20, never the first; half, once or twice the steps a round: each costs at most 2 % of
 * the final loss, and alone it would be much worse. Final is after 20 calm rounds, with learning on, ever less, in the first ten:
 * there is time to catch up.
 */
const TROUBLES: Readonly<Record<string, Partial<Scenario>>> = {
  'churn 0.3': { churn: 0.3 },
  'unequal H': { unequal: true },
}
const MOST_TROUBLE_COSTS = 0.02
for (const seed of seedsOr(1, 2, 3)) {
  const lossOf = async (what: Partial<Scenario>) => (await runScenario(defended(seed, what))).loss
  const still = await lossOf({})
  for (const [name, trouble] of Object.entries(TROUBLES)) {
    const [troubled, alone] = [await lossOf(trouble), await lossOf({ ...trouble, exchange: false })]
    const costs = troubled / still - 1
    say(
      costs <= MOST_TROUBLE_COSTS && alone / still - 1 > 2 * MOST_TROUBLE_COSTS,
      `${name}, seed ${seed}: loss ${troubled.toFixed(4)}, ` +
        `${still.toFixed(4)} without (${percent(costs)}), ${alone.toFixed(4)} without exchange`,
    )
  }
}

/** However long the halves of two cells were apart: shorter than anything, until copies are stale (7), and forgotten (100). */
const PARTITIONS = [1, 10, 150]
for (const seed of seedsOr(1)) {
  for (const length of PARTITIONS) {
    const partition = { from: 5, to: 5 + length }
    const apart = defended(seed, { peers: 20, partition, faulty: 5 + length })
    const [healed, alone] = [await runScenario(apart), await runScenario({ ...apart, exchange: false })]
    say(
      healed.violations.length === 0 && healed.cells > 1 && alone.consensus > 0.1,
      `a partition of ${length} rounds in ${healed.cells} cells, seed ${seed}: ${percent(healed.consensus)} apart ` +
        `${apart.calm} rounds later, ${percent(alone.consensus)} without exchange ${healed.violations.join('; ')}`,
    )
  }
}

/** Three cells, and vectors long enough that bytes are theirs and not the headers'. */
const LARGE = { peers: 24, parameters: 8192, faulty: 8, calm: 6 }
const LEAST_SMALLER = 8
const MOST_CODEC_COSTS = 0.01
const CODECS: readonly CodecChoice[] = [{ values: 'int4' }, { values: 'int4', topK: 0.2 }]
const total = (bytes: Readonly<Record<string, number>>) => Object.values(bytes).reduce((a, b) => a + b, 0)
for (const seed of seedsOr(6)) {
  const float32 = quiet(seed, { ...LARGE, codec: { values: 'float32' } })
  const [plain, alone] = [await runScenario(float32), await runScenario({ ...float32, exchange: false })]
  for (const codec of CODECS) {
    const { loss, consensus, bytes, cells } = await runScenario({ ...float32, codec })
    const smaller = total(plain.bytes) / total(bytes)
    const costs = loss / plain.loss - 1
    // Dense int4 alone is no eighth of float32: it is shown, not held to that.
    say(
      cells > 1 &&
        costs <= MOST_CODEC_COSTS &&
        alone.loss / plain.loss - 1 > 2 * MOST_CODEC_COSTS &&
        (codec.topK === undefined || smaller >= LEAST_SMALLER),
      `${codecOf(codec).name} in ${cells} cells, seed ${seed}: ${Math.round(total(bytes))} bytes a peer and round, ` +
        `${smaller.toFixed(1)} times fewer than float32 (${Math.round(total(plain.bytes))}); loss ${loss.toFixed(4)}, ` +
        `${plain.loss.toFixed(4)} with float32 (${percent(costs)}), ${alone.loss.toFixed(4)} without exchange; ` +
        `${percent(consensus)} apart`,
    )
  }
}
