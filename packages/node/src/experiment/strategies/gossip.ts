import { stream } from '@comigs/model/light'
import {
  type CodecChoice,
  codecOf,
  difference,
  edgeWeight,
  mixingIncrement,
  safeGamma,
} from '@comigs/protocol'
import type { Merge } from '../merge.ts'
import type { Strategy } from '../strategy.ts'
import { comigs1G1S } from './comigs.ts'

interface Topology {
  readonly name: string
  /** Whom a user hears; all hear as many. */
  hears(user: number, users: number): readonly number[]
}

const mesh: Topology = {
  name: 'full mesh',
  hears: (user, users) => Array.from({ length: users }, (_, i) => i).filter((i) => i !== user),
}
const ring: Topology = {
  name: 'ring',
  hears: (user, users) => [...new Set([(user + users - 1) % users, (user + 1) % users])],
}

/**
 * What peers do, everything arriving: each says how it differs from its public copy, in few bytes, and
 * mixes by public copies (CHOCO-SGD, `mixing.ts` of the protocol). The memory is those copies.
 */
const exchange =
  (choice: CodecChoice, topology: Topology): Merge =>
  ({ vectors, initial, memory, round, seed }) => {
    const codec = codecOf(choice)
    let bytes = 0
    const copies = vectors.map((x, user) => {
      const y = memory[user] ?? initial
      const random = stream(seed, `codec of ${user}`, round)
      const payload = codec.encode(difference(x, y), () => random.float())
      bytes = payload.byteLength
      const delta = codec.decode(payload, x.length)
      return y.map((value, k) => value + delta[k]!)
    })
    const mixed = vectors.map((x, user) => {
      const heard = topology.hears(user, vectors.length)
      const weight = edgeWeight(heard.length, heard.length)
      const neighbours = heard.map((other) => ({ copy: copies[other]!, weight }))
      const increment = mixingIncrement(copies[user]!, neighbours, safeGamma(choice))
      return x.map((value, k) => value + increment[k]!)
    })
    return { vectors: mixed, bytes, memory: copies }
  }

const gossip = (name: string, says: string, choice: CodecChoice, topology = mesh): Strategy => ({
  ...comigs1G1S,
  name: `gossip-${name}`,
  says: `comigs-1g1s over a ${topology.name}, deltas in ${says}`,
  merge: exchange(choice, topology),
})

export const gossipFloat32 = gossip('float32', 'float32', { values: 'float32' })
export const gossipInt8 = gossip('int8', 'int8', { values: 'int8' })
export const gossipInt4 = gossip('int4', 'int4', { values: 'int4' })
/** A half is within 1 % of the average; a fifth was not: so little of it may safely be mixed that peers agree too slowly. */
export const gossipTopK = gossip('top-k', 'int4, the larger half', { values: 'int4', topK: 0.5 })
export const gossipRing = gossip('ring', 'int8', { values: 'int8' }, ring)
