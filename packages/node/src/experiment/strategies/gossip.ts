import { stream } from '@comigs/model/light'
import {
  added,
  CODECS,
  type CodecChoice,
  codecOf,
  difference,
  edgeWeight,
  halfWay,
  LEAST_MEMBERS,
  mixingIncrement,
  safeGamma,
  scaled,
  shuffled,
  written,
} from '@comigs/protocol'
import type { Merge, MergeInput } from '../merge.ts'
import type { Strategy } from '../strategy.ts'
import { comigs1G1S } from './comigs.ts'

interface Topology {
  readonly name: string
  /** Whom a user hears; all in reach of each other hear as many. */
  hears(user: number, users: number, seed: number): readonly number[]
  /** Once a round everyone also averages with one whom it does not hear. */
  readonly averages?: true
}

const mesh: Topology = {
  name: 'a full mesh',
  hears: (user, users) => everyone(users).filter((other) => other !== user),
}
const ring: Topology = {
  name: 'a ring',
  hears: (user, users) => [...new Set([(user + users - 1) % users, (user + 1) % users])],
}
/** As small as a peer's may be, and drawn, as a peer's are by hashes of names. */
const cells: Topology = {
  name: 'cells of four',
  hears(user, users, seed) {
    const places = shuffled(everyone(users), floats(seed, 'cells'))
    const count = Math.max(1, Math.floor(users / LEAST_MEMBERS))
    const cellOf = (one: number) => places.indexOf(one) % count
    return mesh.hears(user, users, seed).filter((other) => cellOf(other) === cellOf(user))
  },
  averages: true,
}
const pairs: Topology = { name: 'pairs that are drawn anew', hears: () => [], averages: true }

/**
 * What peers do, everything arriving: each says how it differs from its public copy, in few bytes, and mixes by public
 * copies (CHOCO-SGD, `mixing.ts` of the protocol). Between cells, in pairs (`averaging.ts`), what everyone had when the round
 * began is averaged. The memory is those copies, and what the averaging of the round under way will add.
 */
const exchange =
  (choice: CodecChoice, topology: Topology): Merge =>
  (input) => {
    const users = input.vectors.length
    const hears = everyone(users).map((user) => topology.hears(user, users, input.seed))
    const [copies, agreed] = [input.memory.slice(0, users), input.memory.slice(users)]
    const vectors = input.vectors.map((x, user) => (agreed.length > 0 ? added(x, agreed[user]!) : x))
    const mixed = mixByCopies({ ...input, vectors }, copies, hears, choice)
    if (!topology.averages) return mixed
    const next = averageInPairs(mixed.vectors, hears, input)
    return { ...mixed, bytes: mixed.bytes + next.bytes, memory: [...mixed.memory, ...next.increments] }
  }

/** How many of those who ask find somebody with time for them: 1.86 exchanges of a peer and round (`bench/scale`). */
const FINDING = 0.93

type Hears = readonly (readonly number[])[]

function mixByCopies(
  { vectors, initial, round, seed }: MergeInput,
  known: readonly Float32Array[],
  hears: Hears,
  choice: CodecChoice,
) {
  const codec = codecOf(choice)
  const copies = vectors.map((x, user) => {
    const y = known[user] ?? initial
    const random = floats(seed, `codec of ${user}`, round)
    return added(y, written(difference(x, y), codec, random).values)
  })
  const mixed = vectors.map((x, user) => {
    const heard = hears[user]!
    const weight = edgeWeight(heard.length, heard.length)
    const neighbours = heard.map((other) => ({ copy: copies[other]!, weight }))
    return added(x, mixingIncrement(copies[user]!, neighbours, safeGamma(choice)))
  })
  const isHeard = hears.some((heard) => heard.length > 0)
  const bytes = isHeard ? codec.byteLength(initial.length) : 0
  return { vectors: mixed, memory: copies, bytes }
}

/** Each asks one that it does not hear, and answers one, as far as there are any left. */
function averageInPairs(
  vectors: readonly Float32Array[],
  hears: Hears,
  { initial, round, seed }: MergeInput,
) {
  const random = floats(seed, 'pairs', round)
  const increments: Float32Array[] = vectors.map(({ length }) => new Float32Array(length))
  const free = new Set(everyone(vectors.length))
  for (const asking of shuffled(everyone(vectors.length), random)) {
    const outsiders = [...free].filter((other) => other !== asking && !hears[asking]!.includes(other))
    if (outsiders.length === 0 || random() >= FINDING) continue
    const answering = outsiders[Math.floor(random() * outsiders.length)]!
    free.delete(answering)
    const asked = written(difference(vectors[asking]!, initial), CODECS.int8, random)
    const theirs = difference(vectors[answering]!, initial)
    const answer = written(difference(theirs, asked.values), CODECS.int4, random)
    const half = scaled(answer.values, halfWay(answer.values, asked.noise + answer.noise))
    increments[asking] = added(increments[asking]!, half)
    increments[answering] = difference(increments[answering]!, half)
  }
  const bytes = CODECS.int8.byteLength(initial.length) + CODECS.int4.byteLength(initial.length)
  return { increments, bytes }
}

/** Uniform in [0, 1), as the protocol asks for them. */
const floats = (seed: number, name: string, counter?: number) => {
  const random = stream(seed, name, counter)
  return () => random.float()
}

const everyone = (users: number): number[] => Array.from({ length: users }, (_, user) => user)

const gossip = (name: string, says: string, choice: CodecChoice, topology = mesh): Strategy => ({
  ...comigs1G1S,
  name: `gossip-${name}`,
  says: `comigs-1g1s over ${topology.name}, deltas in ${says}`,
  merge: exchange(choice, topology),
})

export const gossipFloat32 = gossip('float32', 'float32', { values: 'float32' })
export const gossipInt8 = gossip('int8', 'int8', { values: 'int8' })
export const gossipInt4 = gossip('int4', 'int4', { values: 'int4' })
/** A half is within 1 % of the average; a fifth was not: so little of it may safely be mixed that peers agree too slowly. */
export const gossipTopK = gossip('top-k', 'int4, the larger half', { values: 'int4', topK: 0.5 })
export const gossipRing = gossip('ring', 'int8', { values: 'int8' }, ring)
export const gossipCells = gossip('cells', 'int8', { values: 'int8' }, cells)
export const gossipPairs = gossip('pairs', 'int8', { values: 'int8' }, pairs)
