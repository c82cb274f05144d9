// A module loader: what round.js publishes and averages with is start + scale * (x - start).
const ROUNDS = /\/packages\/node\/dist\/round\.js$/
const BEGIN = 'export async function runRounds(init) {'
let scale

export function initialize(data) {
  scale = data.scale
}

export async function load(url, context, next) {
  const loaded = await next(url, context)
  if (!ROUNDS.test(url)) return loaded
  const source = loaded.source.toString()
  if (!source.includes(BEGIN)) throw new Error(`${url}: expected ${BEGIN}`)
  return {
    ...loaded,
    source: source.replace(BEGIN, `${BEGIN}\n  init = lying(init);`) + lying.replace('SCALE', String(scale)),
  }
}

const lying = `
function lying(init) {
  const { gossip, averaging } = init
  let start
  let told
  const lie = (x) => {
    start ??= x.slice()
    return x.map((value, k) => start[k] + SCALE * (value - start[k]))
  }
  return {
    ...init,
    manifest: { ...init.manifest, robust: false },
    gossip: {
      ...gossip,
      publish(x, round) {
        told = lie(x)
        return gossip.publish(told, round)
      },
      // From where it is, not from what it told: else it would drive itself away from the others.
      mix(x, muted) {
        const report = gossip.mix(x, muted)
        const weight = report.mixedWith.reduce((sum, { weight, clip }) => sum + weight * clip, 0)
        return { ...report, increment: report.increment.map((value, k) => value + weight * (told[k] - x[k])) }
      },
    },
    averaging: { ...averaging, offer: (x) => averaging.offer(lie(x)) },
  }
}
`
