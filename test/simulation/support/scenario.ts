import { type CodecChoice, LIMITS } from '../../../packages/protocol/src/index.ts'
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
  readonly clockSkewMs: number
  readonly strangers: number
  readonly robust: boolean
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
    // Drawn last, so that what came before stays what it was.
    robust: random() < 0.5,
    faulty,
    // A straggler makes a round in ten: it needs time for some without learning, too.
    calm: stragglers > 0 ? 60 : 20,
  }
}

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
    clockSkewMs: 0,
    strangers: 0,
    robust: false,
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
  /** Of all numbers that came out; the same seed must give the same. */
  readonly fingerprint: string
  /** Sent in the calm rounds, per peer and round, by kind; an announcement counts once, whoever relays it. */
  readonly bytes: Readonly<Record<string, number>>
}

/** After the faults: learning fades over the first half of the calm rounds. */
const CHURN_EVERY = 5
const CONSENSUS_LIMIT = 0.01

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
    const expected = peer.isStraggler ? calm / 10 : calm
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
  if (swarm.clock.sleeping > 0)
    violations.add(`${swarm.clock.sleeping} timers run after everyone has stopped`)
  const fingerprint = [loss, consensus, rounds, ...Object.values(bytes)]
    .map((value) => value.toString(36))
    .join('/')
  return { scenario, violations: [...violations], loss, consensus, cells, fingerprint, bytes }
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

/** Nothing that a peer keeps may grow without end, whatever the others do. */
function* boundsOf({ peers, clock }: Swarm): Generator<string> {
  // A tick, a step, a wait, and for each stream a watchdog and an opening.
  const most = peers.length * (8 + 4 * LIMITS.copies)
  if (clock.sleeping > most) yield `${clock.sleeping} timers for ${peers.length} peers`
  for (const { index, life } of peers) {
    if (life === undefined) continue
    const copies = life.network.gossip.neighbours().length
    if (copies > LIMITS.copies) yield `peer ${index} follows ${copies} copies`
    const known = Object.keys(life.network.connector.known()).length
    if (known > 48 * 24) yield `peer ${index} remembers ${known} peers`
  }
}

export function consensusOf(vectors: readonly Float32Array[], initial: Float32Array): number {
  const mean = initial.map((_, k) => vectors.reduce((sum, x) => sum + x[k]!, 0) / vectors.length)
  const apart = (a: Float32Array, b: Float32Array) => Math.hypot(...a.map((value, k) => value - b[k]!))
  const learnt = apart(mean, initial)
  return Math.max(...vectors.map((x) => apart(x, mean))) / learnt
}
