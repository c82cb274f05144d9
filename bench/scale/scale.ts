/* eslint-disable no-console -- a command line */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { createProtocol } from '../../packages/node/src/network.ts'
import { findCell, positionOf } from '../../packages/protocol/src/index.ts'
import { manifestFor } from '../../packages/protocol/test/support/federation.ts'
import { MemoryNetwork } from '../../packages/protocol/test/support/memory-network.ts'
import { MemoryPubsub } from '../../packages/protocol/test/support/memory-pubsub.ts'
import { randomVector, seeded } from '../../packages/protocol/test/support/random.ts'
import { hashSigner } from '../../packages/protocol/test/support/signers.ts'
import { settle, VirtualClock } from '../../packages/protocol/test/support/virtual-clock.ts'
import { plot } from './plot.ts'

// Does what a peer sends stay the same while the swarm grows, and does the swarm still agree as fast?
// The real gossip, averaging and streams on memory and virtual time; nobody trains, so that only agreeing is seen.

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    sizes: { type: 'string', default: '64,512,4096' },
    rounds: { type: 'string', default: '8' },
    svg: { type: 'string' },
  },
})

const PARAMETERS = 512
const ROUND_MS = 20_000
/** Connections outside of the cell that a peer looks for, as the connector does. */
const OUTSIDERS = 4

interface Result {
  readonly peers: number
  /** Swarms of this size that the numbers are from. */
  readonly draws: number
  readonly members: { readonly mean: number; readonly least: number; readonly most: number }
  /** Mean squared distance from the mean of all, after each round, as a share of that at the start. */
  readonly disagreement: readonly number[]
  /** Factor by which it shrinks in a round, from the second round on: the first removes what is inside of the cells. */
  readonly contraction: number
  /** Exchanges of a peer in a round: at most one asked and one answered. */
  readonly exchanges: number
  /** The same with pairwise averaging off, for 64 peers: cells agree in themselves, and the swarm never does. */
  readonly contractionWithoutAveraging: number
  readonly bytes: { readonly mean: number; readonly p99: number }
}

async function measure(count: number, draw: number, rounds: number, averages: boolean) {
  const clock = new VirtualClock()
  const network = new MemoryNetwork()
  const pubsub = new MemoryPubsub((a, b) => network.connected(a, b), false)
  const manifest = manifestFor(PARAMETERS, 'float16')
  const random = seeded(count + draw)
  const initial = randomVector(PARAMETERS, 1, 0.1)
  const names = Array.from({ length: count }, (_, i) => `peer-${draw}-${i}`)
  const cells = new Map<string, string>()
  const members = new Map<string, string[]>()
  const positions = names.map(positionOf)
  for (const [i, name] of names.entries()) {
    const cell = findCell(
      positions[i]!,
      positions.filter((_, j) => j !== i),
      '',
    )
    cells.set(name, cell)
    members.set(cell, [...(members.get(cell) ?? []), name])
  }
  const sent = new Map<string, number>(names.map((name) => [name, 0]))
  const send = (name: string, bytes: number) => sent.set(name, sent.get(name)! + bytes)
  const outsiders = new Map<string, string[]>(names.map((name) => [name, []]))
  let announced = 0
  pubsub.carry = (from, _to, deliver) => {
    send(from, announced)
    return deliver()
  }

  const learnt = randomVector(PARAMETERS, 2)
  const peers = []
  for (const [i, name] of names.entries()) {
    const wire = network.wire(name)
    const onTraffic = (kind: string, direction: 'in' | 'out', bytes: number) => {
      if (kind === 'announcement') announced = bytes
      else if (direction === 'out') send(name, bytes)
    }
    const { exchange, gossip, averaging } = createProtocol(
      {
        manifest,
        initial,
        wire,
        pubsub: pubsub.endpoint(name),
        signer: hashSigner(name),
        clock,
        random: (purpose, counter) => seeded(purpose === 'averaging' ? 7000 + i : 1000 * i + counter),
        restored: undefined,
        persist: async () => undefined,
        events: {
          onTraffic,
          onRefusal: () => undefined,
          onRefusedPeer: () => undefined,
          onCopy: () => undefined,
        },
      },
      {
        addresses: () => [],
        peers: () => [],
        outsiders: () => outsiders.get(name)!,
        onAdmitted: () => undefined,
      },
    )
    gossip.enter(cells.get(name)!)
    await exchange.start()
    await averaging.start()
    await gossip.start()
    // Everyone has learnt the same, and is a tenth of that away from the others.
    const apart = randomVector(PARAMETERS, 3000 + i, 0.1)
    peers.push({ name, exchange, gossip, averaging, x: initial.map((v, k) => v + learnt[k]! + apart[k]!) })
  }

  const byName = new Map(peers.map((peer) => [peer.name, peer]))
  for (const cell of members.values()) {
    for (const [i, a] of cell.entries())
      for (const b of cell.slice(i + 1)) await byName.get(a)!.exchange.hello(b)
  }
  if (averages && members.size > 1) {
    for (const name of names) {
      const isNew = (other: string) =>
        cells.get(other) !== cells.get(name) && !outsiders.get(name)!.includes(other)
      for (let found = 0; found < OUTSIDERS && names.some(isNew);) {
        const other = names[Math.floor(random() * count)]!
        if (!isNew(other)) continue
        // Connections go both ways.
        outsiders.get(name)!.push(other)
        outsiders.get(other)!.push(name)
        await byName.get(name)!.exchange.hello(other)
        found++
      }
    }
  }
  for (const name of names) sent.set(name, 0)

  const disagreement: number[] = [disagreementOf(peers.map(({ x }) => x))]
  let exchanges = 0
  for (let round = 1; round <= rounds; round++) {
    for (const { averaging, x } of peers) averaging.offer(x)
    await clock.advance(ROUND_MS)
    for (const { averaging, x } of peers) {
      for (const { increment } of averaging.take()) {
        exchanges++
        for (let k = 0; k < x.length; k++) x[k]! += increment[k]!
      }
    }
    await Promise.all(peers.map(({ gossip, x }) => gossip.publish(x, round)))
    await settle()
    await clock.run(Promise.all(peers.map(({ gossip }) => gossip.collect({ maxMs: 1000 }))))
    const mixed = peers.map(({ gossip, x }) => gossip.mix(x).increment)
    for (const [i, { x }] of peers.entries()) for (let k = 0; k < x.length; k++) x[k]! += mixed[i]![k]!
    disagreement.push(disagreementOf(peers.map(({ x }) => x)))
  }
  return {
    sizes: [...members.values()].map(({ length }) => length),
    disagreement: disagreement.map((value) => value / disagreement[0]!),
    exchanges: exchanges / (rounds * count),
    bytes: [...sent.values()].map((bytes) => bytes / rounds),
  }
}

const average = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length

/** Factor a round, from the second on. */
const contractionOf = (disagreement: readonly number[]): number =>
  (disagreement.at(-1)! / disagreement[1]!) ** (1 / (disagreement.length - 2))

/** Small swarms are all different; so many of them together have as many peers as a large one. */
const drawsOf = (peers: number): number => Math.max(1, Math.round(512 / peers))

async function result(peers: number, rounds: number): Promise<Result> {
  const draws: Awaited<ReturnType<typeof measure>>[] = []
  for (let draw = 0; draw < drawsOf(peers); draw++) draws.push(await measure(peers, draw, rounds, true))
  const alone = await measure(Math.min(peers, 64), 0, 4, false)
  const bytes = draws.flatMap((draw) => draw.bytes).sort((a, b) => a - b)
  const sizes = draws.flatMap((draw) => draw.sizes)
  // Of the swarms of one size the geometric mean.
  const disagreement = draws[0]!.disagreement.map((_, round) =>
    Math.exp(average(draws.map((draw) => Math.log(draw.disagreement[round]!)))),
  )
  return {
    peers,
    draws: draws.length,
    members: { mean: average(sizes), least: Math.min(...sizes), most: Math.max(...sizes) },
    disagreement,
    contraction: contractionOf(disagreement),
    contractionWithoutAveraging: contractionOf(alone.disagreement),
    exchanges: average(draws.map((draw) => draw.exchanges)),
    bytes: { mean: average(bytes), p99: bytes[Math.floor(0.99 * (bytes.length - 1))]! },
  }
}

function disagreementOf(vectors: readonly Float32Array[]): number {
  const mean = new Float64Array(PARAMETERS)
  for (const x of vectors) for (let k = 0; k < PARAMETERS; k++) mean[k]! += x[k]! / vectors.length
  let sum = 0
  for (const x of vectors) for (let k = 0; k < PARAMETERS; k++) sum += (x[k]! - mean[k]!) ** 2
  return sum / vectors.length
}

const rounds = Number(options.rounds)
const results: Result[] = []
for (const peers of options.sizes.split(',').map(Number)) {
  const one = await result(peers, rounds)
  results.push(one)
  const { members, bytes } = one
  console.error(
    `${peers} peers (${one.draws} swarms), cells of ${members.least} to ${members.most}, ${members.mean.toFixed(1)} in the mean: ` +
      `contraction ${one.contraction.toFixed(3)} a round (${one.contractionWithoutAveraging.toFixed(3)} without averaging), ` +
      `${one.exchanges.toFixed(2)} exchanges, ${bytes.mean.toFixed(0)} bytes a peer and round (p99 ${bytes.p99.toFixed(0)})`,
  )
}

const [small, large] = [results[0]!, results.at(-1)!]
const verdict = {
  'contraction at most 0.35': results.every(({ contraction }) => contraction <= 0.35),
  'contraction at most 20 % worse in the largest': large.contraction <= 1.2 * small.contraction,
  'mean bytes within 15 % of the smallest': results.every(
    ({ bytes }) => Math.abs(bytes.mean / small.bytes.mean - 1) <= 0.15,
  ),
  'p99 of bytes at most 2.5 times the mean': results.every(({ bytes }) => bytes.p99 <= 2.5 * bytes.mean),
  'without averaging the swarm does not agree': results.every((one) => one.contractionWithoutAveraging > 0.9),
}
if (options.svg !== undefined) writeFileSync(options.svg, plot(results))
if (options.json)
  console.log(JSON.stringify({ parameters: PARAMETERS, rounds, results, verdict }, undefined, 2))
for (const [claim, holds] of Object.entries(verdict)) console.error(`${holds ? 'ok' : 'FAILED'}: ${claim}`)
process.exit(Object.values(verdict).every(Boolean) ? 0 : 1)
