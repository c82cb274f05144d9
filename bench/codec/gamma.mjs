// How large may gamma be with each codec? CHOCO-SGD on plain vectors, as gossip.ts does it; see README.md.
import { parseArgs } from 'node:util'
import { codecOf } from '@comigs/protocol'
import { stream } from '@comigs/model/light'

const { values: flags } = parseArgs({ options: { json: { type: 'boolean', default: false } } })

const LENGTH = 500
const ROUNDS = 200
const GAMMAS = [1, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03, 0.015]
const CODECS = [
  ...[0.5, 0.2, 0.1, 0.05, 0.01].flatMap((topK) => ['int8', 'int4'].map((values) => ({ values, topK }))),
  ...['int4', 'int8', 'float16', 'float32'].map((values) => ({ values })),
]

/** Alike, and some much larger than others: what a delta of a model looks like. */
const SHAPES = { even: (g) => g, heavy: (g) => g ** 3 }

function normals(random, shape) {
  const bell = () => Math.sqrt(-2 * Math.log(1 - random.float())) * Math.cos(2 * Math.PI * random.float())
  return Float32Array.from({ length: LENGTH }, () => SHAPES[shape](bell()))
}

/**
 * @param task - 'consensus': random vectors agree on their mean. 'sgd': every peer pulls towards a target of its own with
 *   noisy steps, which become smaller over the last third
 * @returns squared distance from the mean at the end and at its worst, over that of the beginning (sgd: of the targets)
 */
export function simulate({ codec: choice, gamma, peers, task, shape, seed = 1 }) {
  const codec = codecOf(choice)
  const random = stream(seed, `gamma/${peers}/${task}/${shape}`)
  const draw = () => random.float()
  const targets = Array.from({ length: peers }, () => normals(random, shape))
  const x = targets.map((target) => (task === 'consensus' ? target.slice() : new Float32Array(LENGTH)))
  const y = x.map(() => new Float32Array(LENGTH))
  const unit = spread(targets)
  let worst = 0
  for (let round = 0; round < ROUNDS; round++) {
    if (task === 'sgd') {
      const rate = 0.1 * 0.9 ** Math.max(0, round - (2 * ROUNDS) / 3)
      x.forEach((own, i) => {
        const noise = normals(random, shape)
        for (let k = 0; k < LENGTH; k++) own[k] += rate * (targets[i][k] - own[k] + 0.5 * noise[k])
      })
    }
    for (let i = 0; i < peers; i++) {
      const q = codec.decode(
        codec.encode(
          x[i].map((value, k) => value - y[i][k]),
          draw,
        ),
        LENGTH,
      )
      for (let k = 0; k < LENGTH; k++) y[i][k] += q[k]
    }
    // sum_j w (y_j - y_i) with w = 1/N, a full mesh: the mean of the copies less our own.
    const centre = new Float64Array(LENGTH)
    for (const copy of y) for (let k = 0; k < LENGTH; k++) centre[k] += copy[k] / peers
    x.forEach((own, i) => {
      for (let k = 0; k < LENGTH; k++) own[k] += gamma * (centre[k] - y[i][k])
    })
    if (round % 10 === 9) worst = Math.max(worst, spread(x) / unit)
    if (!(worst < 1e6)) return { end: Infinity, worst: Infinity }
  }
  return { end: spread(x) / unit, worst }
}

function spread(vectors) {
  let sum = 0
  for (let k = 0; k < LENGTH; k++) {
    let centre = 0
    for (const vector of vectors) centre += vector[k] / vectors.length
    for (const vector of vectors) sum += (vector[k] - centre) ** 2
  }
  return sum
}

const CASES = [4, 8, 15].flatMap((peers) =>
  Object.keys(SHAPES).flatMap((shape) => ['consensus', 'sgd'].map((task) => ({ peers, shape, task }))),
)

const results = []
for (const codec of CODECS) {
  const row = { codec: codecOf(codec).name, gammas: [] }
  for (const gamma of GAMMAS) {
    const cases = CASES.map((one) => ({ ...one, ...simulate({ codec, gamma, ...one }) }))
    const most = (task, key) => Math.max(...cases.filter((one) => one.task === task).map((one) => one[key]))
    row.gammas.push({
      gamma,
      consensus: most('consensus', 'end'),
      consensusWorst: most('consensus', 'worst'),
      sgd: most('sgd', 'end'),
      sgdWorst: most('sgd', 'worst'),
    })
  }
  results.push(row)
  if (!flags.json) {
    console.log(row.codec)
    for (const one of row.gammas)
      console.log(
        '  ',
        Object.entries(one)
          .map(([name, value]) => `${name} ${value.toPrecision(3)}`)
          .join('  '),
      )
  }
}
if (flags.json) console.log(JSON.stringify({ length: LENGTH, rounds: ROUNDS, results }))
