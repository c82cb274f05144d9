import { gossipsub, type GossipSub, type GossipsubOpts } from '@chainsafe/libp2p-gossipsub'
import { createPeerScoreParams, createTopicScoreParams } from '@chainsafe/libp2p-gossipsub/score'
import { type Message, TopicValidatorResult } from '@libp2p/interface'
import { createHash } from 'node:crypto'
import { positionOf, possibleCells } from '../cells.ts'
import { announcementTopic } from '../gossip.ts'
import type { Pubsub, Verdict } from '../wire.ts'

export interface PubsubOptions {
  /** Our peer id. */
  readonly self: string
  /** Manifest hash. Only topics of this federation, and of cells that can become ours, are ever tracked. */
  readonly federation: string
  /** Peers that share our host's address count as one crowd; off where a swarm runs on one machine. */
  readonly scoreByAddress: boolean
  /** Our own opinion of a peer, added to gossipsub's score. */
  opinion?(peer: string): number
}

const TOPIC_SCORE = {
  topicWeight: 1,
  timeInMeshWeight: 0.01,
  timeInMeshQuantum: 1000,
  timeInMeshCap: 300,
  firstMessageDeliveriesWeight: 1,
  firstMessageDeliveriesDecay: 0.99,
  firstMessageDeliveriesCap: 20,
  // Off: its thresholds punish honest peers on a topic this quiet.
  meshMessageDeliveriesWeight: 0,
  meshFailurePenaltyWeight: 0,
  invalidMessageDeliveriesWeight: -20,
  invalidMessageDeliveriesDecay: 0.995,
}

/** By content: the same announcement over two routes is one message. */
export const messageId = (topic: string, data: Uint8Array): Uint8Array =>
  createHash('sha256').update(topic).update('\0').update(data).digest().subarray(0, 20)

/**
 * Gossipsub as we use it: small signed announcements, every message judged, every hostile frame bounded. The numbers are
 * from measurements and from the holes of the 14.1 line; docs/PROTOCOL.md says which.
 */
export function announcementPubsub(options: PubsubOptions): ReturnType<typeof gossipsub> {
  const topics = possibleCells(positionOf(options.self)).map((cell) =>
    announcementTopic(options.federation, cell),
  )
  const topicScore = createTopicScoreParams(TOPIC_SCORE)
  const init: Partial<GossipsubOpts> = {
    globalSignaturePolicy: 'StrictSign',
    // Unbounded topics are how CVE-2026-46679 fills the heap.
    allowedTopics: topics,
    fallbackToFloodsub: false,
    emitSelf: false,
    doPX: false,
    floodPublish: false,
    D: 6,
    Dlo: 4,
    Dhi: 8,
    Dout: 2,
    Dscore: 4,
    maxInboundStreams: 2,
    maxOutboundStreams: 2,
    maxOutboundBufferSize: 1 << 20,
    // 100 times a message, since an answer to IWANT packs many; one frame over the limit would cut its sender off.
    maxInboundDataLength: 1 << 18,
    decodeRpcLimits: {
      maxSubscriptions: 32,
      maxMessages: 256,
      maxIhaveMessageIDs: 256,
      maxIwantMessageIDs: 256,
      maxIdontwantMessageIDs: 256,
      maxControlMessages: 64,
      maxPeerInfos: 16,
    },
    msgIdFn: ({ topic, data }: Message) => messageId(topic, data),
    scoreThresholds: {
      gossipThreshold: -40,
      publishThreshold: -80,
      graylistThreshold: -160,
      acceptPXThreshold: 100,
      opportunisticGraftThreshold: 1,
    },
    scoreParams: createPeerScoreParams({
      topicScoreCap: 50,
      appSpecificWeight: 1,
      appSpecificScore: (peer) => options.opinion?.(peer) ?? 0,
      behaviourPenaltyWeight: -10,
      behaviourPenaltyThreshold: 6,
      behaviourPenaltyDecay: 0.9,
      decayInterval: 1000,
      decayToZero: 0.01,
      retainScore: 3_600_000,
      IPColocationFactorWeight: options.scoreByAddress ? -5 : 0,
      // Without an entry for a topic, invalid messages on it would cost nothing.
      topics: Object.fromEntries(topics.map((topic) => [topic, topicScore])),
    }),
  }
  return gossipsub(init)
}

const VERDICTS: Readonly<Record<Verdict, TopicValidatorResult>> = {
  accept: TopicValidatorResult.Accept,
  ignore: TopicValidatorResult.Ignore,
  reject: TopicValidatorResult.Reject,
}

/** The protocol's view of gossipsub. The only module that knows its interface. */
export function createGossipsubPubsub(service: GossipSub): Pubsub {
  return {
    subscribe(topic, judge) {
      service.topicValidators.set(topic, async (_, message) => {
        // RSA authors are not bound to their key in this line of gossipsub; ours are all Ed25519.
        if (message.type !== 'signed' || message.from.type !== 'Ed25519') return TopicValidatorResult.Reject
        return VERDICTS[await judge(message.data, message.from.toString())]
      })
      service.subscribe(topic)
    },
    unsubscribe(topic) {
      service.topicValidators.delete(topic)
      service.unsubscribe(topic)
    },
    async publish(topic, data) {
      await service.publish(topic, data, {
        ignoreDuplicatePublishError: true,
        allowPublishToZeroTopicPeers: true,
      })
    },
  }
}
