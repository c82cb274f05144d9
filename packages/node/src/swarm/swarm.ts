import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Evaluation } from '@comigs/model'
import { DEFAULT_BASE } from '../base-folder.ts'
import type { PeerEvent } from '../events.ts'
import { type NewFederation, newManifest } from '../new-manifest.ts'
import type { Strategy } from '../round.ts'
import { type ChildPeer, startChildPeer } from './child-peer.ts'
import { startSwarmPage } from './swarm-page.ts'
import type { DataSet } from './data-set.ts'

export interface SwarmConfig {
  readonly dataSet: DataSet
  readonly peers: number
  /** What validates and tests: everyone's text, or one's own. */
  readonly target: 'own' | 'mixture'
  readonly rounds: number
  readonly strategy: Strategy
  readonly seed: number
  readonly batch: number
  readonly context: number
  readonly base: string | undefined
  readonly baseDtype: string
  /** Folder of the peers' state folders. */
  readonly state: string
  readonly federation: NewFederation
  readonly threads: number
  readonly engine: string
  /** Keep serving after the result, until stopped. */
  readonly stay: boolean
}

export interface PeerResult {
  readonly name: string
  readonly peerId: string
  readonly pid: number
  /** On the target. */
  readonly basePerplexity: number
  readonly perplexity: number
  /** On the test text of the peer's own kind. */
  readonly baseOwnPerplexity: number
  readonly ownPerplexity: number
  readonly rounds: number
  /** Others mixed with in the last round. */
  readonly mixedWith: number
  readonly bytesSent: number
  readonly consensusDistance: number | undefined
  readonly http: string
  readonly address: string
  readonly state: string
}

export interface SwarmResult {
  readonly seconds: number
  readonly peers: readonly PeerResult[]
}

/** How long the last deltas may take to reach everyone. */
const CONSENSUS_TIMEOUT_MS = 30_000
const CONSENSUS_POLL_MS = 200

/**
 * Runs N peers as N processes on this machine: the first starts a federation, the others join through it over TCP. The
 * processes share nothing but what they tell each other.
 */
export async function runSwarm(
  config: SwarmConfig,
  {
    onPage,
    onEvent,
    onLog,
    onResult,
    signal,
  }: {
    /** Where one page shows all peers. */
    onPage(url: string): void
    onEvent(peer: string, event: PeerEvent): void
    /** A line that a peer writes to stderr. */
    onLog(peer: string, line: string): void
    /** Called while the peers still serve; they are stopped when it resolves. */
    onResult(result: SwarmResult): Promise<void>
    readonly signal: AbortSignal
  },
): Promise<void> {
  const started = Date.now()
  const root = config.state
  await mkdir(root, { recursive: true })
  const children: ChildPeer[] = []
  const stopAll = () => Promise.all(children.map((child) => child.stop()))
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => {
      reject(new Error('stopped'))
    })
  })
  aborted.catch(() => undefined)
  const page = await startSwarmPage(children)
  onPage(page.url)

  const life = async (): Promise<void> => {
    const names = peerNames(config)
    const start = (index: number, extra: readonly string[]) => {
      const name = names[index]!
      const args = [...peerArguments(config, index, join(root, name)), ...extra]
      const child = startChildPeer(name, args, {
        onEvent: (event) => {
          onEvent(name, event)
        },
        onLog: (line) => {
          onLog(name, line)
        },
      })
      children.push(child)
      return child
    }
    const manifest = join(root, 'manifest.json')
    await writeFile(
      manifest,
      JSON.stringify(await newManifest(config.base ?? DEFAULT_BASE, config.federation)),
    )
    const first = start(0, ['--manifest', manifest])
    const { addresses } = await first.once('listening')
    for (let index = 1; index < config.peers; index++) start(index, ['--bootstrap', addresses[0]!])
    await Promise.all(children.map((child) => child.once('staying')))
    if (config.peers > 1) await allHeard(children, signal)
    await onResult({
      seconds: (Date.now() - started) / 1000,
      peers: children.map((child, index) => resultOf(child, userOf(config, index), join(root, child.name))),
    })
    if (config.stay) await aborted
  }
  try {
    await Promise.race([life(), aborted])
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    await page.stop()
    await stopAll()
  }
}

const userOf = ({ dataSet }: SwarmConfig, index: number): string =>
  dataSet.users[index % dataSet.users.length]!

function peerNames(config: SwarmConfig): string[] {
  return Array.from({ length: config.peers }, (_, index) => {
    const user = userOf(config, index)
    return index < config.dataSet.users.length
      ? user
      : `${user}-${Math.floor(index / config.dataSet.users.length) + 1}`
  })
}

function peerArguments(config: SwarmConfig, index: number, state: string): string[] {
  const { dataSet } = config
  const user = userOf(config, index)
  const target = (split: 'valid' | 'test') =>
    (config.target === 'own' ? [user] : dataSet.users).map((each) => dataSet.file(each, split))
  const args: Record<string, string | readonly string[]> = {
    '--state': state,
    '--train': [dataSet.file(user, 'train')],
    '--valid': target('valid'),
    '--test': target('test'),
    '--rounds': String(config.rounds),
    '--strategy': config.strategy,
    '--seed': String(config.seed + 1 + index),
    '--batch': String(config.batch),
    '--context': String(config.context),
    '--threads': String(config.threads),
    '--engine': config.engine,
    '--base-dtype': config.baseDtype,
    '--listen': ['/ip4/127.0.0.1/tcp/0'],
    '--wait-for-peers': String(config.peers - 1),
    '--evaluate-every': '2',
    ...(config.base === undefined ? {} : { '--base': config.base }),
  }
  return [
    ...Object.entries(args).flatMap(([flag, value]) => [flag, ...[value].flat()]),
    '--stay',
    '--crowded',
    '--measure-distance',
  ]
}

/** Waits until every peer has the last copy of every other, so that distances are those of the end. */
async function allHeard(children: readonly ChildPeer[], signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + CONSENSUS_TIMEOUT_MS
  const complete = (child: ChildPeer) => {
    const heard = child.last('consensus')?.neighbours ?? []
    const round = roundOf(child)
    return heard.filter((one) => one.round === round).length >= children.length - 1
  }
  while (!children.every(complete) && Date.now() < deadline && !signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, CONSENSUS_POLL_MS))
  }
}

/** The last finished round, of this run or of the one that it goes on from. */
const roundOf = (child: ChildPeer): number => (child.last('round') ?? child.last('start')!).round

function resultOf(child: ChildPeer, user: string, state: string): PeerResult {
  const listening = child.last('listening')!
  const { test, baseTest: base, bytes } = child.last('result')!
  const own = (evaluation: Evaluation) =>
    (evaluation.groups.find(({ name }) => name.startsWith(`${user}.`)) ?? evaluation).perplexity
  return {
    name: child.name,
    peerId: listening.peerId,
    pid: listening.pid,
    basePerplexity: base.perplexity,
    perplexity: test.perplexity,
    baseOwnPerplexity: own(base),
    ownPerplexity: own(test),
    rounds: roundOf(child),
    mixedWith: child.last('round')?.mixedWith ?? 0,
    bytesSent: bytes.sent,
    consensusDistance: child.last('consensus')?.consensusDistance,
    http: listening.http,
    address: listening.addresses[0]!,
    state,
  }
}
