import type { BaseDtype, DataSource, EngineName, MixtureConfig, Schedule } from '@comigs/model'
import { stream } from '@comigs/model/light'
import {
  createGossipsubPubsub,
  createLibp2pWire,
  createSigner,
  difference,
  epsilonSpent,
  type Exchange,
  type Gossip,
  type Manifest,
  manifestHash,
  privatised,
  Reputation,
} from '@comigs/protocol'
import type { PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id'
import { prometheusMetrics } from '@libp2p/prometheus-metrics'
import * as Comlink from 'comlink'
import { createHash } from 'node:crypto'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Logger } from 'pino'
import { DEFAULT_BASE, findBase } from './base-folder.ts'
import { systemClock } from './clock.ts'
import { NodeError } from './errors.ts'
import type { Activity, PeerEvent, PeerStatus } from './events.ts'
import { inFifths } from './fifths.ts'
import { parseAddress, withOwnPorts } from './host/addresses.ts'
import { readAdmission } from './host/admission.ts'
import { createDialer } from './host/dialer.ts'
import { createHost, type Host } from './host/host.ts'
import { fetchManifest, type Knocker } from './host/knock.ts'
import { createNearby, findNearby } from './host/nearby.ts'
import { requireToken, startHttp } from './http/server.ts'
import { checkMemory } from './memory.ts'
import { countTexts, createMetrics, type Metrics } from './metrics.ts'
import { findStart, joinNetwork, type Network } from './network.ts'
import { newManifest, ownManifests, requireFederation, requireFit, undescribed } from './new-manifest.ts'
import { PAPER } from './paper.ts'
import { clippedIn, leftOutIn, othersPerplexity, recordRound } from './record-round.ts'
import { type RoundReport, runRounds, type Strategy } from './round.ts'
import { secureRandom } from './secure-random.ts'
import { requirePublishable, requireSameExperts } from './settled.ts'
import { openStateDirectory, type PrivacyRecord, type StateDirectory } from './state/state-directory.ts'
import { createTextService } from './text/text-service.ts'
import { startTrainingWorker, type Training } from './training/training-worker.ts'
import { VERSION } from './version.ts'

export interface PeerConfig {
  /** For people. */
  readonly name: string
  /** State folder. */
  readonly state: string
  readonly data: DataSource
  readonly bootstrap: readonly string[]
  /** Whether to look for peers in the local network, and to be found there. */
  readonly mdns: boolean
  /** A manifest file to start a federation from. */
  readonly manifest: string | undefined
  /** A private federation's key file. */
  readonly psk: string | undefined
  /** The only peers to talk to: ids, and files of them. */
  readonly allow: readonly string[] | undefined
  /** The only federation to join, by manifest hash or its beginning. */
  readonly federation: string | undefined
  readonly base: string | undefined
  /** How the base's matrices are kept in memory. */
  readonly baseDtype: BaseDtype
  readonly experts: number
  readonly batch: number
  readonly context: number
  /** Stop after this round; Infinity: never. */
  readonly rounds: number
  /** Expert steps a round; undefined: the federation's. */
  readonly localSteps: number | undefined
  /** Train only when so many others are connected. */
  readonly waitForPeers: number
  /** Keep serving after the last round, until stopped. */
  readonly stay: boolean
  readonly evaluateEvery: number
  readonly evaluateBatches: number
  /** Whether everyone may read how good we are: our last validation perplexity. */
  readonly publishPerplexity: boolean
  readonly strategy: Strategy
  readonly seed: number | undefined
  readonly engine: EngineName | 'auto'
  readonly threads: number
  readonly listen: readonly string[]
  readonly announce: readonly string[]
  /** Whether to carry connections to peers that cannot be dialled. */
  readonly relay: boolean
  /** Whether to ask the router to forward our ports. */
  readonly upnp: boolean
  /** Whether many peers share this machine's address. */
  readonly crowded: boolean
  /** Whether a local peer tells its generalist once, after its last round. */
  readonly measureDistance: boolean
  readonly http: { readonly host: string; readonly port: number }
  readonly httpNames: readonly string[]
  readonly httpToken: string | undefined
}

/** How much of a round's training time it may wait for others. */
const WAIT_SHARE = 0.25

/**
 * Runs one peer until its last round or until the signal. Everything a peer is made of is put together here.
 * @param onActivity - what it is busy with, where nothing else is told for a while; undefined: with nothing any more
 * @throws NodeError, ProtocolError and the worker's ModelErrors, each with a code
 */
export async function runPeer(
  config: PeerConfig,
  {
    onEvent,
    onActivity,
    log,
    signal,
  }: {
    onEvent(event: PeerEvent): void
    onActivity(activity: Activity | undefined): void
    log: Logger
    signal: AbortSignal
  },
): Promise<void> {
  const metrics = createMetrics()
  const state = await openStateDirectory(config.state)
  const worker = startTrainingWorker()
  const closing: (() => Promise<unknown>)[] = [() => state.release(), () => worker.stop()]
  const lag = monitorEventLoopDelay({ resolution: 10 })
  lag.enable()
  closing.push(() => Promise.resolve(lag.disable()))
  const status: Mutable<PeerStatus> = emptyStatus(config)
  const emit = (event: PeerEvent) => {
    apply(status, event)
    log.info(loggable(event), event.event)
    onEvent(event)
  }

  const busy = (doing: string, what: string) => {
    onActivity({ doing, what })
  }

  // Only a round has something to lose. The rest is not waited for: reading a library of text heeds no signal, nor does a
  // test of the model.
  const atOnce = Promise.withResolvers<undefined>()
  let losesNothing = true
  // Asked twice: TypeScript takes what it has once seen of the signal itself for settled.
  const isStopped = () => signal.aborted
  signal.addEventListener('abort', () => {
    if (losesNothing) atOnce.resolve(undefined)
    else busy('stopping', 'once this round has ended; ctrl-C again ends it now')
  })

  const life = async (): Promise<void> => {
    const { training } = worker
    requireToken(config.http.host, config.httpToken)
    for (const address of [...config.bootstrap, ...config.listen, ...config.announce]) parseAddress(address)

    // Who we are and which federation this is.
    const key = await state.key()
    const admission = await readAdmission(config)
    if (config.bootstrap.length > 0) busy('asking', 'who is there already')
    else if (config.mdns) busy('looking', 'in the local network')
    const found = await findManifest(config, state, { key, admission }, emit, log)
    requirePublishable(found, config)
    const base = found === undefined ? (config.base ?? DEFAULT_BASE) : await findBase(found.base, config.base)
    const mixture = mixtureOf(found?.lora ?? PAPER.lora, config.experts)
    busy('loading', 'engine and base')
    emit({ event: 'memory', ...(await checkMemory(training, base, { ...config, mixture })) })
    const { threads, baseDtype } = config
    const loaded = await training.load({ engine: config.engine, threads, base, baseDtype })
    const { engine, device, reason } = loaded
    emit({ event: 'engine', engine, device, reason })
    const manifest = found ?? (await newManifest(base, undescribed()))
    const federation = manifestHash(manifest)
    await requireFit(manifest, base)

    // What we learn from.
    busy('reading', 'your text')
    const tokens = await training.loadData(
      config.data,
      config.context,
      Comlink.proxy((done: number, total: number) => {
        const what = `of ${total.toLocaleString('en-US')} characters`
        onActivity({ doing: 'tokenising', what, share: done / total })
      }),
    )
    emit({ event: 'federation', name: manifest.name, federation, isNew: found === undefined })
    metrics.info.set(
      {
        name: config.name,
        version: VERSION,
        engine,
        engine_reason: reason,
        device,
        federation: federation.slice(0, 16),
        strategy: config.strategy,
      },
      1,
    )

    emit({ event: 'data', tokens })
    busy('compiling', 'the model')
    const initial = await training.prepare(prepareOptions(config, manifest, key))
    const { round: resumed, velocity } = await resume(training, state, config.experts, log)
    const momentum =
      manifest.momentum === undefined
        ? undefined
        : { factor: manifest.momentum, velocity: velocity ?? new Float32Array(initial.length) }
    const told = await requireTellable(manifest, state, config, resumed)
    emit({ event: 'start', round: resumed, isOver: resumed >= config.rounds })

    // How good the base alone is, for comparison. Before others can see us: who is there is ready to train.
    busy('measuring', 'how good the base is')
    const baseValid = await training.evaluateBase('valid', config.evaluateBatches)
    metrics.baseLoss.set({ split: 'valid' }, baseValid.loss)
    emit({ event: 'base', valid: baseValid })

    // The network.
    const reputation = new Reputation(systemClock)
    const openHost = (listen: readonly string[]) =>
      createHost({
        key,
        admission,
        opinion: (peer) => reputation.score(peer),
        isCutOff: (peer) => reputation.isCutOff(peer),
        listen,
        announce: config.announce,
        relay: config.relay,
        upnp: config.upnp
          ? {
              onFinding: (finding) => {
                emit({ event: 'upnp', ...finding })
              },
            }
          : undefined,
        federation,
        crowded: config.crowded,
        metrics: prometheusMetrics({
          registry: metrics.registry,
          collectDefaultMetrics: false,
          preserveExistingMetrics: true,
        }),
      })
    const host = await openHost(withOwnPorts(config.listen, peerIdFromPrivateKey(key).toString())).catch(
      (error: unknown) => {
        if (error instanceof NodeError && error.detail.code === 'PORT_IN_USE') return openHost(config.listen)
        throw error
      },
    )
    closing.push(async () => host.stop())
    const seed = seedOf(key)
    const totals = { in: 0, out: 0 }
    let cellDepth = 0
    const network = await joinNetwork({
      manifest,
      initial,
      wire: createLibp2pWire(host),
      pubsub: createGossipsubPubsub(host.services.pubsub),
      dialer: createDialer(host),
      signer: createSigner(key),
      clock: systemClock,
      random: (purpose, counter) => {
        const numbers = stream(seed, purpose, counter)
        return () => numbers.float()
      },
      bootstrap: config.bootstrap.map((address) => parseAddress(address).toString()),
      known: await state.knownPeers(),
      restored: await state.ownState(initial.length),
      admits: admission.admits,
      perplexity: () => (config.publishPerplexity ? lastPerplexity(status) : undefined),
      persist: (own) => state.saveOwnState(own),
      log,
      events: {
        onTraffic: (kind, direction, bytes) => {
          totals[direction] += bytes
          metrics.bytes.inc({ kind, direction }, bytes)
        },
        onRefusal: (reason, peer, detail) => {
          metrics.refusals.inc({ reason })
          log.debug({ peer, reason, detail }, 'refused')
          if (!reputation.blame(peer, reason)) return
          log.warn({ peer, reason }, 'too many offences: cut off')
          host.hangUp(peerIdFromString(peer)).catch(() => undefined)
        },
        onCopy: (author, round) => {
          log.debug({ peer: author, round }, 'copy moved on')
        },
        onCell: (cell) => {
          cellDepth = cell.length
          metrics.cellDepth.set(cellDepth)
        },
        onRefusedPeer: (peer, error) => {
          metrics.refusals.inc({ reason: 'federation' })
          log.warn({ peer, error: error.message }, 'peer refused')
          emit({ event: 'refused', peer, code: error.detail.code, message: error.message })
        },
      },
    })
    const bytes = () => ({ sent: totals.out, received: totals.in })
    closing.push(() => network.stop())
    if (config.mdns) {
      const nearby = createNearby({
        federation,
        addresses: () => host.getMultiaddrs(),
        onFound: (peer, addresses) => {
          network.connector.found(peer, addresses)
        },
        log,
      })
      await nearby.start()
      closing.push(() => nearby.stop())
    }
    const addresses = host.getMultiaddrs().map(String)
    const http = await startHttp({
      ...config.http,
      names: config.httpNames,
      token: config.httpToken,
      metrics: () => scrape(metrics, host, network, lag),
      ready: () => status.phase !== 'starting',
      status: async (after) => ({
        ...status,
        rounds: status.rounds.filter(({ round }) => round > after),
        refusals: await refusalsByReason(metrics),
      }),
      text: createTextService({
        training,
        positions: loaded.model.positions,
        onEnd: countTexts(metrics),
      }),
      onRefused: (reason) => {
        metrics.httpRefusals.inc({ reason })
      },
    })
    closing.push(() => http.stop())
    // Only who can train and be reached binds the folder to a federation: a typing error must not.
    await state.saveManifest(manifest)
    emit({ event: 'listening', peerId: host.peerId.toString(), pid: process.pid, addresses, http: http.url })

    // Where to start: where we stopped, or where the others are, or at the federation's own beginning.
    const isNewcomer = resumed === 0 && found !== undefined && (config.mdns || config.bootstrap.length > 0)
    if (config.strategy === 'comigs' && isNewcomer) {
      busy('joining', 'fetching what the others have learnt')
      await join(training, network, emit, signal)
    }

    busy('waiting', `for others (${config.waitForPeers} at least)`)
    await waitForPeers(config.waitForPeers, network.exchange, signal)
    if (isStopped()) return

    losesNothing = false
    busy('training', `round ${resumed + 1}`)
    await runRounds({
      trainer: training,
      gossip: network.gossip,
      averaging: network.averaging,
      clock: systemClock,
      manifest,
      strategy: config.strategy,
      localSteps: config.localSteps ?? manifest.localSteps,
      from: resumed,
      to: config.rounds,
      evaluateEvery: config.evaluateEvery,
      evaluateBatches: config.evaluateBatches,
      waitShare: WAIT_SHARE,
      momentum,
      protect: await protection(manifest, state, config.strategy, told),
      checkpoint: async (round) => {
        await state.saveCheckpoint(
          await training.checkpoint({
            extra: { round: String(round), experts: String(config.experts) },
            velocity: momentum?.velocity,
          }),
        )
        await state.saveKnownPeers(network.connector.known())
      },
      onRound: (report) => {
        onActivity(undefined)
        recordRound(metrics, log, report, network.gossip)
        for (const peer of report.exchange?.harmful ?? [])
          log.warn({ peer }, 'mixing this peer in does harm; muted')
        emit({ event: 'round', ...summary(report, network.gossip, bytes()), cellDepth })
      },
      signal,
    })
    if (isStopped()) return

    busy('measuring', 'how good the model has become')
    const tell = inFifths((share) => {
      emit({ event: 'testing', share })
    })
    tell(0)
    losesNothing = true
    const { base: baseTest, personal: test } = await training.test(
      Comlink.proxy((share: number) => {
        tell(share)
        onActivity({ doing: 'measuring', what: 'of the test text', share })
      }),
    )
    metrics.baseLoss.set({ split: 'test' }, baseTest.loss)
    metrics.loss.set({ split: 'test' }, test.loss)
    metrics.perplexity.set({ split: 'test' }, test.perplexity)
    if (config.strategy === 'local' && config.measureDistance && manifest.privacy === undefined)
      await network.gossip.begin(await training.shared(), config.rounds)
    onActivity(undefined)
    emit({ event: 'result', test, baseTest, bytes: bytes() })
    if (!config.stay) return
    emit({ event: 'staying' })
    await stay(training, network, emit, signal)
  }

  try {
    await Promise.race([life(), worker.died, atOnce.promise])
  } finally {
    for (const close of closing.reverse()) {
      await close().catch((error: unknown) => {
        log.warn({ error: String(error) }, 'while stopping')
      })
    }
  }
}

/** Whom it mixed with is told by number, at debug by name. */
function loggable(event: PeerEvent): object {
  const said = { ...event, event: undefined } // the message
  return 'neighbours' in event ? { ...said, neighbours: event.neighbours.length } : said
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/**
 * From a file, from the state folder, from a bootstrap peer, or from one nearby; undefined: this peer starts a federation.
 */
async function findManifest(
  config: PeerConfig,
  state: StateDirectory,
  knocker: Knocker,
  emit: (event: PeerEvent) => void,
  log: Logger,
): Promise<Manifest | undefined> {
  const { given, pinned } = await ownManifests(config.manifest, state)
  let manifest = given ?? pinned
  if (pinned !== undefined) {
    const failure = await requireSameFederation(pinned, config, knocker)
    if (failure !== undefined) emit({ event: 'alone', message: failure.message })
  }
  if (manifest === undefined && config.bootstrap.length > 0)
    manifest = await askBootstrap(config.bootstrap, knocker)
  if (manifest === undefined && config.federation !== undefined) {
    if (!config.mdns) {
      const reason = 'is nowhere to be joined; give --bootstrap, --mdns or --manifest, too'
      throw new NodeError({
        code: 'OPTION_INVALID',
        option: '--federation',
        value: config.federation,
        reason,
      })
    }
    manifest = await findNearby(config.federation, knocker, log)
  }
  if (manifest !== undefined) requireFederation(manifest, config.federation)
  return manifest
}

const BOOTSTRAP_ATTEMPTS = 3
const BOOTSTRAP_PAUSE_MS = 1000

async function askBootstrap(addresses: readonly string[], knocker: Knocker): Promise<Manifest> {
  let failure: unknown
  for (let attempt = 0; attempt < BOOTSTRAP_ATTEMPTS; attempt++) {
    for (const address of addresses) {
      try {
        return await fetchManifest(address, knocker)
      } catch (error) {
        failure = error
      }
    }
    await systemClock.sleep(BOOTSTRAP_PAUSE_MS)
  }
  throw failure as Error
}

/**
 * Whom a folder's owner asks to be joined through must not all be of another federation: it would train on alone, unnoticed.
 * Who does not answer now may be one of ours.
 * @returns why not, where nobody answers
 * @throws NodeError `STATE_OF_OTHERS`
 */
async function requireSameFederation(
  pinned: Manifest,
  { bootstrap, state }: PeerConfig,
  knocker: Knocker,
): Promise<Error | undefined> {
  const ours = manifestHash(pinned)
  const answers = await Promise.allSettled(bootstrap.map((address) => fetchManifest(address, knocker)))
  const met = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [manifestHash(answer.value)] : []))
  if (met.length === 0)
    return answers.find((answer) => answer.status === 'rejected')?.reason as Error | undefined
  if (met.includes(ours)) return undefined
  throw new NodeError({ code: 'STATE_OF_OTHERS', folder: state, ours, theirs: met[0]! })
}

const lastPerplexity = ({ rounds }: PeerStatus): number | undefined =>
  rounds.findLast(({ validPerplexity }) => validPerplexity !== undefined)?.validPerplexity

function mixtureOf(lora: Manifest['lora'], experts: number): MixtureConfig {
  return { experts, rank: lora.rank, alpha: lora.alpha, routing: 'router' }
}

function prepareOptions(config: PeerConfig, manifest: Manifest, key: PrivateKey) {
  const { schedule } = manifest
  const localSteps = config.localSteps ?? manifest.localSteps
  const learning: Schedule =
    schedule.kind === 'cosine'
      ? { kind: 'cosine', rate: schedule.rate, steps: schedule.rounds * localSteps }
      : { kind: 'constant', rate: schedule.rate, warmupSteps: schedule.warmupSteps }
  return {
    mixture: mixtureOf(manifest.lora, config.experts),
    batch: config.batch,
    context: config.context,
    schedule: learning,
    sharedSeed: manifest.seed,
    seed: config.seed ?? seedOf(key),
  }
}

/** A peer's own seed comes from its key: the same after a restart, another for everyone else. */
function seedOf(key: PrivateKey): number {
  return createHash('sha256').update('comigs/seed').update(key.raw).digest().readUInt32LE(0)
}

/**
 * The newest checkpoint that is whole.
 * @returns its round, 0 for none, and the velocity of its momentum
 * @throws NodeError `OPTION_INVALID` when it was made with another number of experts
 */
async function resume(
  training: Training,
  state: StateDirectory,
  experts: number,
  log: Logger,
): Promise<{ round: number; velocity?: Float32Array | undefined }> {
  const checkpoints = await state.checkpoints()
  let failure: unknown
  for (const { path, bytes } of checkpoints) {
    try {
      const made = await training.inspect(bytes, path)
      requireSameExperts(made, experts, state.folder)
      const { velocity } = await training.restore(bytes, path)
      return { round: Number(made['round']), velocity }
    } catch (error) {
      if (error instanceof NodeError) throw error
      failure = error
      log.warn(
        { path, error: error instanceof Error ? error.message : String(error) },
        'checkpoint not usable',
      )
    }
  }
  if (failure !== undefined) throw failure as Error
  return { round: 0 }
}

/** A newcomer starts at the mean of what it finds; a peer that comes back goes on; the first starts at y(0). */
async function join(
  training: Training,
  network: Network,
  emit: (event: PeerEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const mean = await findStart(network, systemClock, signal)
  if (mean === undefined) return
  await training.addShared(difference(mean, await training.shared()))
  await network.gossip.begin(mean, 0)
  emit({ event: 'joined', copies: network.gossip.neighbours().length })
}

const WAIT_POLL_MS = 100

async function waitForPeers(count: number, exchange: Exchange, signal: AbortSignal): Promise<void> {
  while (exchange.admitted().length < count && !signal.aborted) await systemClock.sleep(WAIT_POLL_MS, signal)
}

/** After the last round: serves the others, and tells how far the peers are apart as their last copies come in. */
async function stay(
  training: Training,
  { gossip }: Network,
  emit: (event: PeerEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const x = await training.shared()
  let seen = ''
  while (!signal.aborted) {
    const rounds = gossip
      .neighbours()
      .map(({ peer, round }) => `${peer}:${round}`)
      .join()
    if (rounds !== seen) {
      seen = rounds
      emit({ event: 'consensus', neighbours: gossip.neighbours(), consensusDistance: gossip.consensus(x) })
    }
    await systemClock.sleep(WAIT_POLL_MS, signal)
  }
}

async function scrape(
  metrics: Metrics,
  host: Host,
  { gossip, exchange, connector }: Network,
  lag: ReturnType<typeof monitorEventLoopDelay>,
): Promise<string> {
  metrics.connectedPeers.set(host.getPeers().length)
  metrics.underWay.set({ what: 'fetches' }, gossip.pulling())
  metrics.underWay.set({ what: 'uploads' }, exchange.uploading())
  metrics.underWay.set({ what: 'dials' }, connector.targets())
  metrics.eventLoopLag.set(lag.percentile(99) / 1e9)
  metrics.residentMemory.set(process.memoryUsage.rss())
  lag.reset()
  return metrics.registry.metrics()
}

/**
 * What was told under differential privacy before; undefined where the federation asks for none.
 * @throws NodeError `STATE_UNUSABLE` when what there is must not be told: nobody knows what was spent, or it was trained alone
 */
async function requireTellable(
  { privacy }: Manifest,
  state: StateDirectory,
  { strategy }: PeerConfig,
  resumed: number,
): Promise<PrivacyRecord | undefined> {
  if (privacy === undefined) return undefined
  const told = await state.privacy(resumed)
  if (strategy === 'local' || !told.unprotected) return told
  const reason =
    'it was trained alone, without the noise that the federation asks for, and would tell all of that at once; go on with --strategy local, or begin again in another folder (--state)'
  throw new NodeError({ code: 'STATE_UNUSABLE', path: state.folder, reason })
}

/** Differential privacy as the manifest asks for it. Alone, a peer trains better without it: and stays alone from then on. */
async function protection(
  { privacy }: Manifest,
  state: StateDirectory,
  strategy: Strategy,
  told: PrivacyRecord | undefined,
): Promise<Parameters<typeof runRounds>[0]['protect']> {
  if (privacy === undefined || told === undefined) return undefined
  if (strategy === 'local') {
    await state.savePrivacy({ ...told, unprotected: true })
    return undefined
  }
  const random = secureRandom()
  let { releases } = told
  return async (start, trained) => {
    // Counted before it is told: a crash in between costs some of the promise, and breaks none of it.
    await state.savePrivacy({ releases: ++releases, unprotected: false })
    return { x: privatised(start, trained, privacy, random), epsilon: epsilonSpent(releases, privacy.noise) }
  }
}

function summary(report: RoundReport, gossip: Gossip, bytes: { sent: number; received: number }) {
  const { experts, exchange, validation, seconds } = report
  return {
    round: report.round,
    trainLoss: experts.loss,
    validLoss: validation?.loss,
    validPerplexity: validation?.perplexity,
    tokensPerSecond: experts.tokens / seconds.train,
    learningRate: experts.learningRate,
    mixedWith: exchange?.mixedWith.length ?? 0,
    clipped: exchange === undefined ? 0 : clippedIn(exchange),
    leftOut: exchange === undefined ? {} : leftOutIn(exchange),
    averagedWith: exchange?.averagedWith ?? 0,
    notAveraged: exchange?.notAveraged,
    muted: exchange?.leftOut.filter(({ reason }) => reason === 'muted').map(({ peer }) => peer) ?? [],
    neighbours: gossip.neighbours().map((neighbour) => ({
      ...neighbour,
      weight: exchange?.mixedWith.find(({ peer }) => peer === neighbour.peer)?.weight,
      leftOut: exchange?.leftOut.find(({ peer }) => peer === neighbour.peer)?.reason,
    })),
    othersPerplexity: othersPerplexity(gossip),
    consensusDistance: exchange?.consensusDistance,
    epsilon: report.epsilon,
    generalistShare: experts.routerScores.map((scores) => scores[0]!),
    seconds: seconds.total,
    bytes,
  }
}

function emptyStatus(config: PeerConfig): Mutable<PeerStatus> {
  return {
    name: config.name,
    version: VERSION,
    phase: 'starting',
    strategy: config.strategy,
    refusals: {},
    rounds: [],
  }
}

async function refusalsByReason({ refusals }: Metrics): Promise<PeerStatus['refusals']> {
  const { values } = await refusals.get()
  return Object.fromEntries(values.map(({ labels, value }) => [String(labels.reason), value]))
}

/** Rounds that /api/status remembers. */
const STATUS_ROUNDS = 1000

/** The status is the sum of the events. */
function apply(status: Mutable<PeerStatus>, event: PeerEvent): void {
  switch (event.event) {
    case 'engine':
      status.engine = { name: event.engine, device: event.device, reason: event.reason }
      break
    case 'federation':
      status.federation = { name: event.name, hash: event.federation }
      break
    case 'data':
      status.tokens = event.tokens
      break
    case 'listening':
      status.peerId = event.peerId
      status.addresses = event.addresses
      status.http = event.http
      break
    case 'base':
      status.baseValid = event.valid
      break
    case 'round':
      status.phase = 'training'
      status.rounds = [...status.rounds.slice(-(STATUS_ROUNDS - 1)), event]
      break
    case 'testing':
      status.phase = 'testing'
      break
    case 'result':
      status.phase = 'done'
      status.test = event.test
      status.baseTest = event.baseTest
      break
    case 'consensus':
      status.consensus = { neighbours: event.neighbours, consensusDistance: event.consensusDistance }
      break
    case 'memory':
    case 'upnp':
    case 'start':
    case 'alone':
    case 'joined':
    case 'refused':
    case 'staying':
      break
  }
}
