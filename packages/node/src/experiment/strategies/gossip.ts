import { stream } from '@comigs/model/light'
import { type CodecChoice, codecOf, edgeWeight, mixingIncrement, safeGamma } from '@comigs/protocol'
import type { Merge } from '../merge.ts'
import type { Strategy } from '../strategy.ts'
import { comigs1G1S } from './comigs.ts'

/**
 * What peers do in a full mesh, everything arriving: each says how it differs from its public copy, in few bytes, and
 * mixes by public copies (CHOCO-SGD, `mixing.ts` of the protocol). The memory is those copies.
 */
const mesh =
  (choice: CodecChoice): Merge =>
  ({ vectors, initial, memory, round, seed }) => {
    const codec = codecOf(choice)
    const others = vectors.length - 1
    let bytes = 0
    const copies = vectors.map((x, user) => {
      const y = memory[user] ?? initial
      const random = stream(seed, `codec of ${user}`, round)
      const payload = codec.encode(
        x.map((value, k) => value - y[k]!),
        () => random.float(),
      )
      bytes = payload.byteLength
      const delta = codec.decode(payload, x.length)
      return y.map((value, k) => value + delta[k]!)
    })
    const mixed = vectors.map((x, user) => {
      const neighbours = copies.flatMap((copy, other) =>
        other === user ? [] : [{ copy, weight: edgeWeight(others, others) }],
      )
      const increment = mixingIncrement(copies[user]!, neighbours, safeGamma(choice))
      return x.map((value, k) => value + increment[k]!)
    })
    return { vectors: mixed, bytes, memory: copies }
  }

const gossip = (name: string, says: string, choice: CodecChoice): Strategy => ({
  ...comigs1G1S,
  name: `gossip-${name}`,
  says: `comigs-1g1s over a full mesh, deltas in ${says}`,
  merge: mesh(choice),
})

export const gossipFloat32 = gossip('float32', 'float32', { values: 'float32' })
export const gossipInt8 = gossip('int8', 'int8', { values: 'int8' })
export const gossipInt4 = gossip('int4', 'int4', { values: 'int4' })
/** A half is within 1 % of the average; a fifth was not: so little of it may safely be mixed that peers agree too slowly. */
export const gossipTopK = gossip('top-k', 'int4, the larger half', { values: 'int4', topK: 0.5 })
