import { type CodecChoice, LIMITS } from '../../../packages/protocol/src/index.ts'
import { MANIFEST } from '../../../packages/protocol/test/support/federation.ts'
import { seeded } from '../../../packages/protocol/test/support/random.ts'
import type { Attack } from './attackers.ts'
import { createSwarm, ROUND_MS, type SimulatedPeer, type Swarm } from './swarm.ts'

/** Everything that happens in one simulated life of a swarm. It follows from the seed, so that a seed repeats it. */
export interface Scenario {
  readonly seed: number
  readonly peers: number
  readonly parameters: number
  readonly codec: CodecChoice
  readonly exchange: boolean
  readonly realKeys: boolean
  readonly delayMs: number
  readonly loss: number
  readonly duplication: number
  readonly broken: number
  readonly stragglers: number
  readonly unequal: boolean
  readonly clockSkewMs: number
  readonly strangers: number
  readonly robust: boolean
  readonly momentum: number | undefined
  readonly attack: { readonly kind: Attack; readonly peers: number } | undefined
  /** Share of peers killed every five faulty rounds, never the first; half of them come back without what they had on disk. */
  readonly churn: number
  /** In rounds. */
  readonly partition: { readonly from: number; readonly to: number } | undefined
  /** Rounds with faults, and the rounds after them, at whose end loss and consensus are judged. */
  readonly faulty: number
  readonly calm: number
}

const VALUES = ['int8', 'float16', 'float32'] as const
/** Mostly of one cell, since that is quick; the larger ones divide. */
const SIZES = [4, 8, 8, 12, 12, 16, 20, 32]

export function scenarioOf(seed: number): Scenario {
  const random = seeded(seed)
  const one = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!
  const sometimes = (share: number, value: number) => (random() < share ? value * random() : 0)
  const faulty = 20
  const stragglers = sometimes(0.5, 0.3)
  const from = 3 + Math.floor(10 * random())
  return {
    seed,
    peers: one(SIZES),
    parameters: 48,
    codec: { values: one(VALUES) },
    exchange: true,
    realKeys: random() < 1 / 8,
    delayMs: 10 + 300 * random() ** 2,
    loss: sometimes(0.7, 0.3),
    duplication: sometimes(0.7, 0.3),
    broken: sometimes(0.5, 0.1),
    stragglers,
    clockSkewMs: sometimes(0.5, 7_200_000),
    strangers: random() < 0.3 ? 2 : 0,
    attack: undefined,
    churn: sometimes(0.6, 0.5),
    partition:
      random() < 0.5 ? { from, to: from + 1 + Math.floor((faulty - from - 1) * random()) } : undefined,
    // Drawn last, each after the one before, so that what came before stays what it was.
    robust: random() < 0.5,
    ...pacesOf(random() < 0.3, stragglers),
    momentum: random() < 0.3 ? 0.5 : undefined,
    faulty,
  }
}

/** A straggler makes a round in ten, who takes twice the steps one in two: they need time for some without learning, too. */
const pacesOf = (unequal: boolean, stragglers: number) => ({
  unequal,
  calm: stragglers > 0 ? 60 : unequal ? 40 : 20,
})

/** Nothing goes wrong in it but what is said. */
export function quiet(seed: number, what: Partial<Scenario>): Scenario {
  return {
    seed,
    peers: 16,
    parameters: 48,
    codec: { values: 'int8' },
    exchange: true,
    realKeys: false,
    delayMs: 50,
    loss: 0,
    duplication: 0,
    broken: 0,
    stragglers: 0,
    unequal: false,
    clockSkewMs: 0,
    strangers: 0,
    robust: false,
    momentum: undefined,
    attack: undefined,
    churn: 0,
    partition: undefined,
    faulty: 20,
    calm: 20,
    ...what,
  }
}

export interface Outcome {
  readonly scenario: Scenario
  /** What must never be; empty when all is well. */
  readonly violations: readonly string[]
  /** Mean loss over the honest peers at the end. */
  readonly loss: number
  /** Largest distance of an honest peer from their mean, in units of what was learnt. */
  readonly consensus: number
  readonly cells: number
  /** For which fields honest peers refused others. */
  readonly refusedFor: readonly string[]
  /** Of all numbers that came out; the same seed must give the same. */
  readonly fingerprint: string
  /** Sent in the calm rounds, per peer and round, by kind; an announcement counts once, whoever relays it. */
  readonly bytes: Readonly<Record<string, number>>
}

/** After the faults: learning fades over the first half of the calm rounds. */
const CHURN_EVERY = 5
const CONSENSUS_LIMIT = 0.01
/** In which strangers differ. */
const FIELDS = ['comigs', 'localSteps']

export async function runScenario(scenario: Scenario): Promise<Outcome> {
  const { faulty, calm } = scenario
  const fade = { from: faulty * ROUND_MS, to: (faulty + calm / 2) * ROUND_MS }
  const swarm = await createSwarm({
    ...scenario,
    rate: (ms) => (ms < fade.from ? 1 : ms > fade.to ? 0 : (fade.to - ms) / (fade.to - fade.from)),
  })
  const random = seeded(scenario.seed + 77)
  const violations = new Set<string>()
  const honest = swarm.peers.filter(({ isStranger, isBad }) => !isStranger && !isBad)
  const { weather } = swarm

  for (const peer of swarm.peers) {
    swarm.start(peer)
    await swarm.run(1000 * random())
  }
  Object.assign(weather, { loss: scenario.loss, duplication: scenario.duplication, broken: scenario.broken })
  for (let round = 1; round <= faulty; round++) {
    if (round === scenario.partition?.from) swarm.partition(({ index }) => index % 2)
    if (round === scenario.partition?.to) swarm.partition(undefined)
    const dead = round % CHURN_EVERY === 0 ? killSome(swarm, honest, scenario.churn, random) : []
    await swarm.run(ROUND_MS * random())
    for (const peer of dead) swarm.start(peer)
    await swarm.run(ROUND_MS * (1 - random() / 2))
    for (const violation of boundsOf(swarm)) violations.add(violation)
  }
  swarm.partition(undefined)
  Object.assign(weather, { loss: 0, duplication: 0, broken: 0 })
  const before = honest.map(({ rounds }) => rounds)
  const sentBefore = honest.map(({ sent }) => new Map(sent))
  await swarm.run(calm * ROUND_MS)
  for (const violation of boundsOf(swarm)) violations.add(violation)

  for (const [i, peer] of honest.entries()) {
    const steps = MANIFEST.localSteps * (peer.isStraggler ? calm / 10 : calm)
    const expected = steps / peer.localSteps
    if (peer.life === undefined || peer.rounds - before[i]! < 0.6 * expected - 1)
      violations.add(`peer ${peer.index} made ${peer.rounds - before[i]!} of ${expected} rounds: it is stuck`)
    if (scenario.strangers > 0 && peer.life?.network.exchange.admitted().some((id) => isStranger(swarm, id)))
      violations.add(`peer ${peer.index} admitted a peer of another version`)
  }
  const vectors = honest.flatMap(({ life }) => (life === undefined ? [] : [life.trainer.x]))
  const consensus = consensusOf(vectors, swarm.problem.initial)
  if (scenario.exchange && consensus > CONSENSUS_LIMIT)
    violations.add(`the peers are ${(100 * consensus).toFixed(2)} % apart after ${calm} calm rounds`)
  for (const error of swarm.errors) violations.add(`unhandled: ${error}`)

  const cells = new Set(honest.map(({ life }) => life?.network.connector.cell())).size
  const loss = vectors.reduce((sum, x) => sum + swarm.problem.loss(x), 0) / vectors.length
  const rounds = honest.reduce((sum, peer) => sum + peer.rounds, 0)
  const calmRounds = rounds - before.reduce((sum, count) => sum + count, 0)
  const bytes: Record<string, number> = {}
  for (const [i, peer] of honest.entries())
    for (const [kind, sent] of peer.sent)
      bytes[kind] = (bytes[kind] ?? 0) + (sent - (sentBefore[i]!.get(kind) ?? 0)) / calmRounds
  await swarm.stop()
  for (const { index, id } of honest)
    if (swarm.network.serving(id) > 0)
      violations.add(
        `peer ${index} still answers ${swarm.network.serving(id)} streams after everyone has stopped`,
      )
  if (swarm.clock.sleeping > 0)
    violations.add(`${swarm.clock.sleeping} timers run after everyone has stopped`)
  const fingerprint = [loss, consensus, rounds, ...Object.values(bytes)]
    .map((value) => value.toString(36))
    .join('/')
  const refusedFor = FIELDS.filter((field) => honest.some(({ refusals }) => refusals.has(field)))
  return { scenario, violations: [...violations], loss, consensus, cells, refusedFor, fingerprint, bytes }
}

function killSome(
  swarm: Swarm,
  peers: readonly SimulatedPeer[],
  share: number,
  random: () => number,
): SimulatedPeer[] {
  const dead = peers.filter(({ index }) => index > 0 && random() < share)
  for (const peer of dead) {
    swarm.kill(peer)
    if (random() < 0.5) peer.disk = { known: {} }
  }
  return dead
}

const isStranger = (swarm: Swarm, id: string) => swarm.peers.find((peer) => peer.id === id)!.isStranger

/** Of one peer, answered at a time. */
const MOST_STREAMS = 8

/** Nothing that a peer keeps may grow without end, whatever the others do. */
function* boundsOf({ peers, clock, network }: Swarm): Generator<string> {
  // A tick, a step, a wait, and for each stream a watchdog and an opening.
  const most = peers.length * (8 + 4 * LIMITS.copies)
  if (clock.sleeping > most) yield `${clock.sleeping} timers for ${peers.length} peers`
  for (const { index, id, life } of peers) {
    if (life === undefined) continue
    const { exchange, gossip, connector } = life.network
    // libp2p would reset what is beyond so many from each.
    const streams = network.serving(id)
    if (streams > peers.length * MOST_STREAMS) yield `peer ${index} answers ${streams} streams`
    if (gossip.pulling() > LIMITS.copies) yield `peer ${index} fetches ${gossip.pulling()} copies`
    if (exchange.uploading() > LIMITS.uploads) yield `peer ${index} makes ${exchange.uploading()} uploads`
    const copies = gossip.neighbours().length
    if (copies > LIMITS.copies) yield `peer ${index} follows ${copies} copies`
    const known = Object.keys(connector.known()).length
    if (known > 48 * 24) yield `peer ${index} remembers ${known} peers`
    // The bootstrap peers, those known, and as many that are forgotten at the next tick.
    if (connector.targets() > 2 * known + 2) yield `peer ${index} would dial ${connector.targets()} places`
  }
}

export function consensusOf(vectors: readonly Float32Array[], initial: Float32Array): number {
  const mean = initial.map((_, k) => vectors.reduce((sum, x) => sum + x[k]!, 0) / vectors.length)
  const apart = (a: Float32Array, b: Float32Array) => Math.hypot(...a.map((value, k) => value - b[k]!))
  const learnt = apart(mean, initial)
  return Math.max(...vectors.map((x) => apart(x, mean))) / learnt
}
