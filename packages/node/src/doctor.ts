import type { BaseDtype, DataSource, EngineName, MemoryPlan } from '@comigs/model'
import { type Manifest, manifestHash, requireSameManifest } from '@comigs/protocol'
import type { PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import type { Multiaddr } from '@multiformats/multiaddr'
import { networkInterfaces } from 'node:os'
import { DEFAULT_BASE, findBase, resolveBase } from './base-folder.ts'
import { adviceOf, exitCodeOf, isCoded, NodeError } from './errors.ts'
import { parseAddress, peerOf } from './host/addresses.ts'
import { type Admission, readAdmission } from './host/admission.ts'
import { knock, type Visit } from './host/knock.ts'
import { checkMemory } from './memory.ts'
import { requireFederation, requireFit } from './new-manifest.ts'
import { PAPER } from './paper.ts'
import { openStateDirectory } from './state/state-directory.ts'
import { startTrainingWorker, type Training } from './training/training-worker.ts'

export interface DoctorConfig {
  readonly state: string
  readonly data: DataSource | undefined
  readonly bootstrap: readonly string[]
  readonly federation: string | undefined
  readonly psk: string | undefined
  readonly allow: readonly string[] | undefined
  readonly base: string | undefined
  readonly baseDtype: BaseDtype
  readonly experts: number
  readonly batch: number
  readonly context: number
  readonly engine: EngineName | 'auto'
  readonly threads: number
}

export type CheckName =
  | 'state'
  | 'engine'
  | 'base'
  | 'memory'
  | 'data'
  | 'address'
  | 'dial'
  | 'handshake'
  | 'protocol'
  | 'manifest'
  | 'clock'
  | 'reachability'

export interface Finding {
  readonly check: CheckName
  /** warn: it works, but not as well as it could. skipped: nothing was asked about it, or it needs what failed. */
  readonly status: 'ok' | 'warn' | 'fail' | 'skipped'
  readonly found: string
  /** What to change. */
  readonly advice?: string
  /** What a peer would exit with. */
  readonly exitCode?: number
}

/** What a person can do about it, by error code; the message says what is wrong. */
const ADVICE: Readonly<Record<string, string>> = {
  STATE_UNUSABLE: 'make the folder writable for you, free some disk space, or give another with --state',
  OPTION_INVALID: 'correct that option',
  ENGINE_UNAVAILABLE:
    'install onnxruntime-node (npm install --ignore-scripts onnxruntime-node), or choose with --engine',
  BASE_MISSING:
    'ask whoever runs the federation for the base model, and give its name on the hub or its folder with --base',
  BASE_MISMATCH: 'give the folder of the base that the federation was made with',
  DATA_MISSING: 'give files or folders that exist with --data',
  DATA_EMPTY: 'give more text with --data, or a smaller --context',
  DATA_TOO_SHORT: 'give more text with --data, or a smaller --context',
  DATA_BINARY: 'give text: .txt, .md, .jsonl, .csv, .html or .pdf, or .gz of these',
  WORKER_DIED: 'give less text, or more memory',
  ADDRESS_MALFORMED: 'copy the address that the other peer prints when it starts',
  MANIFEST_MISMATCH:
    'use the same version of comigs as the others, or another --state for another federation',
  FEDERATION_UNEXPECTED: 'correct --federation, or ask whom you got the address from',
}

const STAGE_ADVICE = {
  dial: 'is the other peer running, the port right, and open in its firewall?',
  handshake:
    'take the id after /p2p/ from the running peer; for a private federation give its --psk, and ask to be put on --allow',
  protocol: 'there is no comigs peer at that address, or one of another version',
} as const
type Stage = keyof typeof STAGE_ADVICE
const STAGES: readonly Stage[] = ['dial', 'handshake', 'protocol']

/** Announcements carry seconds since 1970: a peer that is far behind looks as if it had never begun anew. */
const SKEW_MS = 10_000

/**
 * Looks at everything that a peer needs before it can train with others, and says what to change.
 * @param onDownload - of a base on the hub: bytes that have arrived, and bytes in all
 */
export async function* examine(
  config: DoctorConfig,
  onDownload: (received: number, total: number) => void,
): AsyncGenerator<Finding> {
  const worker = startTrainingWorker()
  const { training } = worker
  const checked = (check: CheckName, look: () => Promise<Good>) =>
    finding(check, () => Promise.race([look(), worker.died]))
  const plan = (lora: Manifest['lora'] | undefined) => {
    const { experts } = config
    return { ...config, mixture: { experts, ...(lora ?? PAPER.lora), routing: 'router' as const } }
  }
  try {
    let identity: { key: PrivateKey; manifest: Manifest | undefined; admission: Admission } | undefined
    yield await checked('state', async () => {
      identity = await readIdentity(config)
      return {
        found: `${config.state} is ours to write; we are ${peerIdFromPrivateKey(identity.key).toString()}`,
      }
    })
    let given: string | undefined
    let unusable: unknown
    yield await checked('engine', async () => {
      try {
        given = await resolveBase(config.base, onDownload)
        // One that does not fit is told where memory's turn is, before it takes this machine down.
        const isTooMuch = given !== undefined && (await exceedsMemory(training, given, plan(undefined)))
        return await findEngine(training, config, isTooMuch ? DEFAULT_BASE : (given ?? DEFAULT_BASE))
      } catch (error) {
        if (isCoded(error) && error.detail.code === 'ENGINE_UNAVAILABLE') throw error
        unusable = error // told where the base's turn is; the rest is looked at with the shipped one
        return findEngine(training, config, DEFAULT_BASE)
      }
    })
    yield config.data === undefined
      ? { check: 'data', status: 'skipped', found: 'no --data given' }
      : await checked('data', () => findText(training, config.data!, config.context))

    let manifest = identity?.manifest
    for (const address of config.bootstrap) {
      if (identity === undefined) break
      const { key, admission } = identity
      const visits: Visit[] = []
      yield* visit(address, async () => {
        visits.push(await knock(address, { key, admission }))
      })
      const [met] = visits
      if (met === undefined) continue
      yield await checked('manifest', async () => compareManifests(met.manifest, manifest, config.federation))
      yield lookAtClock(met)
      yield lookAtAddress(met)
      manifest ??= met.manifest
    }
    if (config.bootstrap.length === 0)
      yield { check: 'dial', status: 'skipped', found: 'no --bootstrap given' }

    const bases: string[] = []
    yield await checked('base', async () => {
      if (unusable !== undefined) throw unusable as Error
      const base = manifest === undefined ? (given ?? DEFAULT_BASE) : await findBase(manifest.base, given)
      if (manifest !== undefined) await requireFit(manifest, base)
      bases.push(base)
      return { found: manifest === undefined ? base : `${base} is the federation's` }
    })
    yield bases[0] === undefined
      ? { check: 'memory', status: 'skipped', found: 'depends on the base' }
      : await checked('memory', () => checkMemory(training, bases[0]!, plan(manifest?.lora)))
  } finally {
    await worker.stop()
  }
}

type Good = Pick<Finding, 'found' | 'advice'>

/** What is wrong otherwise is told where its turn is. */
const exceedsMemory = (training: Training, base: string, plan: MemoryPlan): Promise<boolean> =>
  checkMemory(training, base, plan).then(
    ({ needed, available }) => needed > available,
    () => false,
  )

/** What is said with an advice is a warning. */
async function finding(check: CheckName, look: () => Promise<Good>): Promise<Finding> {
  try {
    const good = await look()
    return { check, status: good.advice === undefined ? 'ok' : 'warn', ...good }
  } catch (error) {
    return failed(check, error)
  }
}

function failed(check: CheckName, error: unknown): Finding {
  const code = isCoded(error) ? error.detail.code : ''
  return {
    check,
    status: 'fail',
    found: error instanceof Error ? error.message : String(error),
    advice:
      ADVICE[code] ?? adviceOf(error) ?? 'see the message; run the peer with --log-level debug for more',
    exitCode: exitCodeOf(error),
  }
}

async function readIdentity(config: DoctorConfig) {
  const admission = await readAdmission(config)
  const state = await openStateDirectory(config.state)
  try {
    return { key: await state.key(), manifest: await state.manifest(), admission }
  } finally {
    await state.release()
  }
}

async function findEngine(
  training: Training,
  { engine, threads, baseDtype }: DoctorConfig,
  base: string,
): Promise<Good> {
  const loaded = await training.load({ engine, threads, base, baseDtype })
  const found = `${loaded.engine}: ${loaded.device} (${loaded.reason})`
  if (loaded.engine === 'onnx' || engine !== 'auto') return { found }
  return {
    found,
    advice:
      'onnxruntime-node did not load here; it is much faster: npm install --ignore-scripts onnxruntime-node',
  }
}

async function findText(training: Training, data: DataSource, context: number): Promise<Good> {
  const { train, valid, test } = await training.loadData(data, context)
  const count = (tokens: number): string => tokens.toLocaleString('en-US')
  const found = `${count(train)} tokens to learn from, ${count(valid)} to validate, ${count(test)} to test`
  // An epoch shorter than a round's ten batches of eight: the specialists learn it by heart.
  const few = train < 80 * context
  return few
    ? { found, advice: 'that is little text: a round sees all of it; give more with --data' }
    : { found }
}

/** Address, dial, handshake and protocol, in this order; what comes after the first failure is skipped. */
async function* visit(address: string, meet: () => Promise<void>): AsyncGenerator<Finding> {
  try {
    const parsed = parseAddress(address)
    yield peerOf(parsed) === undefined
      ? {
          check: 'address',
          status: 'warn',
          found: `${address} does not say whose it is`,
          advice: 'add /p2p/ and the id that the peer prints, so that nobody else can answer in its place',
        }
      : { check: 'address', status: 'ok', found: address }
  } catch (error) {
    yield failed('address', error)
    yield* STAGES.map((check): Finding => ({ check, status: 'skipped', found: 'needs an address' }))
    return
  }
  let reached: Stage | undefined
  let failure: Finding | undefined
  try {
    await meet()
  } catch (error) {
    const stage =
      error instanceof NodeError && error.detail.code === 'BOOTSTRAP_FAILED' ? error.detail.stage : 'protocol'
    reached = STAGES.find((one) => one === stage) ?? 'dial'
    const plain = failed(reached, error)
    failure =
      plain.advice === ADVICE['MANIFEST_MISMATCH'] ? plain : { ...plain, advice: STAGE_ADVICE[reached] }
  }
  for (const stage of STAGES) {
    const order = reached === undefined ? -1 : Math.sign(STAGES.indexOf(stage) - STAGES.indexOf(reached))
    if (order < 0) yield { check: stage, status: 'ok', found: address }
    else if (order === 0) yield failure!
    else yield { check: stage, status: 'skipped', found: 'not reached' }
  }
}

function compareManifests(theirs: Manifest, ours: Manifest | undefined, wanted: string | undefined): Good {
  requireFederation(theirs, wanted)
  if (ours !== undefined) requireSameManifest(ours, theirs)
  const actual = manifestHash(theirs)
  const found = `${theirs.name} ${actual}`
  const pinned = ours !== undefined || wanted !== undefined
  return pinned
    ? { found }
    : {
        found,
        advice: `to be sure that it is the one you mean, join with --federation ${actual.slice(0, 16)}`,
      }
}

function lookAtClock({ skewMs }: Visit): Finding {
  if (skewMs === undefined)
    return { check: 'clock', status: 'skipped', found: 'the peer does not tell the time' }
  const seconds = Math.abs(skewMs / 1000).toFixed(1)
  const found = `theirs is ${seconds} s ${skewMs < 0 ? 'behind' : 'ahead of'} ours`
  if (Math.abs(skewMs) < SKEW_MS) return { check: 'clock', status: 'ok', found }
  return { check: 'clock', status: 'warn', found, advice: 'let one of the two machines set its clock (NTP)' }
}

/** Whether the address that we are seen with is one of this machine: then nothing stands between us and the peer. */
function lookAtAddress({ observed }: Visit): Finding {
  const check = 'reachability'
  const seen = observed === undefined ? undefined : hostOf(observed)
  if (seen === undefined) return { check, status: 'skipped', found: 'the peer does not say where it sees us' }
  const own = Object.values(networkInterfaces()).flatMap((all) => all ?? [])
  if (own.some(({ address }) => address === seen))
    return { check, status: 'ok', found: `the peer sees us as ${seen}, an address of this machine` }
  return {
    check,
    status: 'warn',
    found: `the peer sees us as ${seen}, which is not an address of this machine: there is a router (NAT) in between`,
    advice: `others reach us only while we hold a connection; to be reachable, try --upnp, or forward a port to this machine and add --listen /ip4/0.0.0.0/tcp/<port> --announce /ip4/${seen}/tcp/<port>`,
  }
}

function hostOf(address: Multiaddr): string | undefined {
  try {
    return address.nodeAddress().address
  } catch {
    return undefined
  }
}
