import type { EngineName, Evaluation, SplitName } from '@comigs/model'
import type { LeftOutReason, NotAveraged } from '@comigs/protocol'
import type { Strategy } from './round.ts'

export interface RoundEvent {
  readonly round: number
  readonly trainLoss: number
  readonly validLoss: number | undefined
  readonly validPerplexity: number | undefined
  readonly tokensPerSecond: number
  readonly learningRate: number
  /** Peers mixed with in this round. */
  readonly mixedWith: number
  /** How many of them were clipped. */
  readonly clipped: number
  /** How many were not mixed with, by reason. */
  readonly leftOut: Readonly<Partial<Record<LeftOutReason, number>>>
  /** Peers of other cells that x was averaged with, or why with nobody. */
  readonly averagedWith: number
  readonly notAveraged: NotAveraged | undefined
  /** Peers that the benefit guard keeps out. */
  readonly muted: readonly string[]
  readonly neighbours: readonly {
    readonly peer: string
    readonly round: number
    readonly ageRounds: number
    /** In the last mixture, or why it was left out of that. */
    readonly weight?: number | undefined
    readonly leftOut?: LeftOutReason | undefined
  }[]
  /** What others publish of their validation perplexity, without names, and how many do; undefined where nobody does. */
  readonly othersPerplexity: PerplexityRange | undefined
  readonly consensusDistance: number | undefined
  /** Differential privacy spent so far, at delta 1e-5. */
  readonly epsilon: number | undefined
  /** Times that the swarm was halved to get this peer's cell; 0 while all are in one. */
  readonly cellDepth: number
  /** Mean router weight of expert 0, by layer. */
  readonly generalistShare: readonly number[]
  readonly seconds: number
  readonly bytes: Traffic
}

export interface PerplexityRange {
  readonly peers: number
  readonly least: number
  readonly median: number
  readonly most: number
}

export interface Traffic {
  readonly sent: number
  readonly received: number
}

/** What takes a while, for whoever waits. */
export interface Activity {
  /** One word: tokenising. */
  readonly doing: string
  /** The rest of it in words. */
  readonly what: string
  /** How much is done, from 0 to 1, where that is known. */
  readonly share?: number
}

/** What a peer tells about itself, in order. One JSON object a line with `--json`. */
export type PeerEvent =
  | {
      readonly event: 'engine'
      readonly engine: EngineName
      readonly device: string
      readonly reason: string
    }
  | {
      readonly event: 'federation'
      readonly name: string
      readonly federation: string
      readonly isNew: boolean
    }
  /** Bytes that training needs and that this machine has free; what to change where it does not fit. */
  | {
      readonly event: 'memory'
      readonly needed: number
      readonly available: number
      readonly found: string
      readonly advice?: string
    }
  /** What became of asking the router to let others in, whenever that changes. */
  | { readonly event: 'upnp'; readonly found: string; readonly advice?: string }
  | { readonly event: 'data'; readonly tokens: Readonly<Record<SplitName, number>> }
  /** Over: there is nothing left to train. */
  | { readonly event: 'start'; readonly round: number; readonly isOver: boolean }
  /** Of those to come back to nobody answers; asked again while it trains. */
  | { readonly event: 'alone'; readonly message: string }
  | {
      readonly event: 'listening'
      readonly peerId: string
      readonly pid: number
      readonly addresses: readonly string[]
      readonly http: string
    }
  | { readonly event: 'base'; readonly valid: Evaluation }
  | { readonly event: 'joined'; readonly copies: number }
  | { readonly event: 'refused'; readonly peer: string; readonly code: string; readonly message: string }
  | ({ readonly event: 'round' } & RoundEvent)
  /** After the last round. How much of the test is done, in fifths, from 0 on. */
  | { readonly event: 'testing'; readonly share: number }
  | {
      readonly event: 'result'
      readonly test: Evaluation
      readonly baseTest: Evaluation
      readonly bytes: Traffic
    }
  | { readonly event: 'staying' }
  | {
      readonly event: 'consensus'
      readonly neighbours: RoundEvent['neighbours']
      readonly consensusDistance: number | undefined
    }

/** GET /api/status; `?after=<round>` leaves out the rounds up to that one. */
export interface PeerStatus {
  readonly name: string
  readonly version: string
  /** Serving: a finished model, by `comigs-peer serve`. */
  readonly phase: 'starting' | 'training' | 'testing' | 'done' | 'serving'
  readonly strategy?: Strategy
  readonly peerId?: string
  readonly addresses?: readonly string[]
  readonly engine?: { readonly name: string; readonly device: string; readonly reason: string }
  readonly federation?: { readonly name: string; readonly hash: string }
  readonly tokens?: Readonly<Record<SplitName, number>>
  readonly baseValid?: Evaluation
  readonly baseTest?: Evaluation
  readonly test?: Evaluation
  /** Where it serves HTTP. */
  readonly http?: string
  /** How far the peers are apart as copies come in after the last round. */
  readonly consensus?: Pick<RoundEvent, 'neighbours' | 'consensusDistance'>
  /** Things from other peers that were not taken, by reason. */
  readonly refusals: Readonly<Record<string, number>>
  readonly rounds: readonly RoundEvent[]
}

/** GET /api/status of `comigs-peer swarm`. */
export interface SwarmStatus {
  readonly peers: readonly PeerStatus[]
}
