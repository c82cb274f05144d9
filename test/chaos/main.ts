/* eslint-disable no-console -- a command line */
import { generateKeyPairFromSeed, privateKeyToProtobuf } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { stream } from '@comigs/model/light'
import { createHash } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { newManifest, OPEN_ENDED } from '../../packages/node/src/new-manifest.ts'
import { positionOf } from '../../packages/protocol/src/cells.ts'
import { peerArguments } from '../support/peer-process.ts'
import { writeTinyBase } from '../support/tiny-base.ts'
import { startNetwork } from './network.ts'
import { judge, RECENT_ROUNDS, recentDistance, type Sample } from './judge.ts'
import { createResident, type Resident } from './resident.ts'
import { type Fault, schedule } from './schedule.ts'
import { CALM, STORM } from './weather.ts'

const LANGUAGES = ['de', 'fr', 'it', 'nl']
/** Until everyone has found everyone; processes start on a busy machine. */
const MEETING_SECONDS = 300
/** Until everyone has found everyone again, and agrees, after the faults. A dead connection is noticed after 70 s. */
const HEALING_SECONDS = 180
const SAMPLE_MS = 5000
const POLL_MS = 500

const { values: flags } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    peers: { type: 'string', default: '8' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e6)) },
    json: { type: 'boolean', default: false },
  },
})
const [minutes, peers, seed] = [Number(flags.minutes), Number(flags.peers), Number(flags.seed)]
if (!(minutes >= 0) || !Number.isInteger(peers) || peers < 2 || !Number.isInteger(seed)) {
  console.error('usage: npm run test:chaos -- [--minutes N] [--peers N] [--seed N] [--json]')
  process.exit(2)
}

const began = Date.now()
const say = (text: string) => {
  const seconds = Math.round((Date.now() - began) / 1000)
  console.error(
    `${String(Math.floor(seconds / 60)).padStart(3)}:${String(seconds % 60).padStart(2, '0')}  ${text}`,
  )
}
const random = (purpose: string) => {
  const numbers = stream(seed, purpose)
  return () => numbers.float()
}

const folder = await mkdtemp(join(tmpdir(), 'comigs-chaos-'))
const base = await writeTinyBase(join(folder, 'base'))
const manifest = join(folder, 'manifest.json')
await writeFile(
  manifest,
  JSON.stringify(
    await newManifest(base, {
      name: 'chaos',
      seed,
      schedule: OPEN_ENDED,
      codec: { values: 'int8' },
      robust: true,
    }),
  ),
)
const network = await startNetwork(random('weather'))
const names = Array.from({ length: peers }, (_, i) => `${LANGUAGES[i % LANGUAGES.length]!}-${i + 1}`)
const stateOf = (name: string) => join(folder, name)
const residents = new Map<string, Resident>()
for (const [index, name] of names.entries()) {
  const bootstrap = () => (index === 0 ? [] : ['--bootstrap', residents.get(names[0]!)!.address])
  residents.set(
    name,
    createResident({
      name,
      networkPort: network.port,
      args: () =>
        peerArguments(LANGUAGES[index % LANGUAGES.length]!, base, stateOf(name), [
          ...['--name', name, '--manifest', manifest, '--seed', String(seed + index)],
          ...['--batch', '8', '--context', '64', '--evaluate-every', '5'],
          ...bootstrap(),
        ]),
      onListening: network.listens,
    }),
  )
}
const all = [...residents.values()]
const samples: Sample[] = []
const sampling = new AbortController()
const stopped = new AbortController()
setMaxListeners(Infinity, stopped.signal)
process.once('SIGINT', () => {
  stopped.abort(new Error('stopped'))
})

let passed = false
try {
  passed = await run()
} catch (error) {
  console.error(error)
} finally {
  sampling.abort()
  await Promise.all(all.map((one) => one.kill()))
  await network.stop()
  await rm(folder, { recursive: true, force: true })
}
process.exit(passed ? 0 : 1)

async function run(): Promise<boolean> {
  say(`seed ${seed}: ${peers} peers, ${minutes} minutes of faults`)
  await writeKeys()
  const sampled = sample()

  await all[0]!.start()
  await Promise.all(all.slice(1).map((one) => one.start()))
  await until(
    'everyone mixes with everyone',
    MEETING_SECONDS,
    async () => all.every(({ rounds }) => rounds.length >= RECENT_ROUNDS) && (await everyoneHeard()),
  )
  const before = new Map(all.map((one) => [one.name, recentDistance(one)]))

  const faults = schedule(names, 60 * minutes, random('faults'))
  if (faults.length > 0) {
    say(`the storm begins: ${STORM.delayMs} ms each way, ${100 * STORM.loss} % loss, ${faults.length} faults`)
    network.weather(STORM)
    const start = Date.now()
    await Promise.all(
      faults.map(async ({ atSeconds, fault }) => {
        await wait(start + 1000 * atSeconds - Date.now())
        await suffer(fault)
      }),
    )
    await wait(start + 60_000 * minutes - Date.now())
    network.weather(CALM)
    say('calm again')
  }

  const healed = await until('everyone mixes with everyone again, and agrees', HEALING_SECONDS, () =>
    everyoneHeard().then(
      (heard) => heard && all.every((one) => recentDistance(one) <= before.get(one.name)!),
    ),
  ).then(
    () => true,
    () => false,
  )
  sampling.abort()
  await sampled
  const cells = new Map(await Promise.all(all.map(async (one) => [one.name, await cellOf(one)] as const)))
  await Promise.all(all.map((one) => one.stop()))
  const verdict = await judge({ residents: all, healed, before, samples, cells, stateOf })
  if (flags.json) {
    console.log(
      JSON.stringify({
        seed,
        minutes,
        seconds: (Date.now() - began) / 1000,
        faults: counted(faults),
        ...verdict,
      }),
    )
  } else {
    console.table(verdict.peers)
    console.log(counted(faults))
    console.log(verdict.swarm)
    for (const failure of verdict.failures) console.log(`FAILED: ${failure}`)
    console.log(
      verdict.failures.length === 0
        ? 'passed'
        : `repeat these faults with: npm run test:chaos -- --minutes ${minutes} --peers ${peers} --seed ${seed}`,
    )
  }
  return verdict.failures.length === 0
}

/** Who is who follows from the seed, so that cells do, too; where the swarm divides, both halves can stand alone. */
async function writeKeys(): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const keys = await Promise.all(
      names.map((name) =>
        generateKeyPairFromSeed(
          'Ed25519',
          createHash('sha256').update(`${seed}/${attempt}/${name}`).digest(),
        ),
      ),
    )
    const right = keys.filter((key) =>
      positionOf(peerIdFromPrivateKey(key as unknown as PrivateKey).toString()).startsWith('1'),
    ).length
    if (peers > 15 && Math.abs(right - peers / 2) > peers / 8) continue
    for (const [i, name] of names.entries()) {
      await mkdir(stateOf(name), { recursive: true })
      await writeFile(join(stateOf(name), 'key'), privateKeyToProtobuf(keys[i]!), { mode: 0o600 })
    }
    return
  }
}

async function suffer(fault: Fault): Promise<void> {
  const { kind, seconds } = fault
  const lasting = seconds === 0 ? '' : ` for ${Math.round(seconds)} s`
  if (kind === 'partition') {
    say(`partition${lasting}: ${fault.groups.map((group) => group.join(' ')).join(' | ')}`)
    network.partition(fault.groups)
    await wait(1000 * seconds)
    network.heal()
    return
  }
  say(`${kind} ${fault.peer}${lasting}`)
  const peer = residents.get(fault.peer)!
  switch (kind) {
    case 'kill':
      await peer.kill()
      await wait(1000 * seconds)
      await peer.start()
      break
    case 'pause':
      peer.pause()
      await wait(1000 * seconds)
      peer.resume()
      break
    case 'reset':
      network.reset(fault.peer)
      break
    case 'silence':
      network.silence(fault.peer)
      break
  }
}

/** Samples every peer's metrics until the end. */
async function sample(): Promise<void> {
  while (!sampling.signal.aborted) {
    await Promise.all(
      all.map(async (one) => {
        const metrics = await one.metrics()
        if (metrics !== undefined)
          samples.push({ peer: one.name, life: one.lives, atMs: Date.now() - began, metrics })
      }),
    )
    await sleep(SAMPLE_MS, undefined, { signal: sampling.signal }).catch(() => undefined)
  }
}

/** Whether every peer mixes with all others of its cell, or has decided not to. */
async function everyoneHeard(): Promise<boolean> {
  const cells = new Map(await Promise.all(all.map(async (one) => [one, await cellOf(one)] as const)))
  return all.every((one) => {
    const cell = cells.get(one)
    const last = one.rounds.at(-1)
    if (cell === undefined || last === undefined) return false
    const heard = last.neighbours.filter(({ leftOut, weight }) => leftOut === 'muted' || weight !== undefined)
    const others = all.filter((other) => other !== one && cells.get(other) === cell)
    return others.every(({ id }) => heard.some(({ peer }) => peer === id))
  })
}

/** Guests aside. */
async function cellOf(one: Resident): Promise<string | undefined> {
  const depth = (await one.metrics())?.['comigs_cell_depth']
  return depth === undefined ? undefined : positionOf(one.id).slice(0, depth)
}

async function until(what: string, seconds: number, check: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 1000 * seconds
  let saidAt = Date.now()
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`)
    if (Date.now() - saidAt > 10_000) {
      saidAt = Date.now()
      say(
        all
          .map(({ name, rounds }) => `${name} ${rounds.at(-1)?.round ?? 0}/${rounds.at(-1)?.mixedWith ?? 0}`)
          .join('  '),
      )
    }
    await wait(POLL_MS)
  }
  say(`ok: ${what}`)
}

function wait(ms: number): Promise<void> {
  return sleep(Math.max(0, ms), undefined, { signal: stopped.signal })
}

function counted(faults: ReturnType<typeof schedule>): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { fault } of faults) counts[fault.kind] = (counts[fault.kind] ?? 0) + 1
  return counts
}
