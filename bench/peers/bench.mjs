// What does a peer cost, and how does it grow: peers on one machine, experts, layers, context? See README.md.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { nodeArguments, startCompetitor } from '../engine/line-protocol.mjs'
import { BATCH, CONTEXT, SHAPES, workload } from '../engine/workload.mjs'
import { machine } from '../machine.mjs'
import { linePlot } from '../plot/plot.mjs'
import { peakMemoryMB, residentMemoryMB } from '../process-tree.mjs'
import { median, rounded } from '../statistics.mjs'
import { runSwarm } from '../swarm.mjs'

const PEERS = [1, 2, 4, 8]
/** A router phase falls due in the third; the fourth is one more to take a median of. */
const ROUNDS = 4
/** Turns of each size, all sizes in rotation. */
const TURNS = 3
const STEPS_A_TURN = 2

const { demo } = SHAPES
/** One thing grows, the rest stays as the shipped base has it. */
const SIZES = {
  experts: [1, 2, 3, 4, 6, 8].map((experts) => ({ x: experts, mixture: { experts } })),
  layers: [2, 4, 8, 12].map((layers) => ({ x: layers, model: { layers } })),
  context: [32, 64, 128, 256].map((context) => ({ x: context, context })),
}

/** Long enough for a leak of a kilobyte a step to show. */
const SOAK_STEPS = 2000
const SOAK_SAMPLES = 10

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    threads: { type: 'string', default: '1' },
    only: { type: 'string' },
    plots: { type: 'string' },
  },
})
const threads = Number(flags.threads)
const wanted = flags.only?.split(',') ?? ['peers', ...Object.keys(SIZES)]

const result = { shape: 'demo', batch: BATCH, context: CONTEXT, threads, machine: machine() }
for (const what of wanted) {
  if (what === 'peers') {
    result.peers = []
    for (const peers of PEERS) result.peers.push(await swarm(peers))
  } else if (what === 'soak') {
    result.soak = await soak()
  } else if (what in SIZES) {
    result[what] = await grow(what)
  } else {
    console.error(`--only ${what}: expected some of peers, soak, ${Object.keys(SIZES).join(', ')}`)
    process.exit(2)
  }
}
if (flags.plots !== undefined) plot(flags.plots)
if (flags.json) {
  console.log(JSON.stringify(result))
} else {
  for (const what of wanted) {
    console.log(
      `\n${what}, ${what === 'soak' ? 'small' : 'demo'} shape, ${threads} thread${threads === 1 ? '' : 's'} a process`,
    )
    console.table(result[what])
  }
}

/** N real peers over TCP on this machine, each a process, each with its own language. */
async function swarm(peers) {
  console.error(`${peers} peers ...`)
  const seen = new Map()
  const flags = {
    '--peers': peers,
    '--rounds': ROUNDS,
    '--threads': threads,
    '--batch': BATCH,
    '--context': CONTEXT,
  }
  await runSwarm(flags, async (peer, event) => {
    const known = seen.get(peer) ?? { rounds: [] }
    seen.set(peer, known)
    if (event.event === 'listening') Object.assign(known, { pid: event.pid, http: event.http })
    if (event.event === 'round') {
      known.rounds.push(event)
      // Scraping starts the next interval: this one covers the round.
      known.lagMs = [...(known.lagMs ?? []), await eventLoopLagMs(known.http)]
    }
    if (event.event === 'staying') known.peakRssMB = peakMemoryMB(known.pid)
  })
  const all = [...seen.values()]
  // The first round also compiles.
  const settled = all.map(({ rounds }) => rounds.slice(1))
  const training = settled.map((rounds) => median(rounds.map((round) => round.tokensPerSecond)))
  return {
    peers,
    tokensPerSecond: Math.round(training.reduce((sum, each) => sum + each, 0)),
    tokensPerSecondOfAPeer: Math.round(median(training)),
    secondsOfARound: rounded(median(settled.flat().map((round) => round.seconds)), 2),
    peakRssMBOfAPeer: Math.max(...all.map((peer) => peer.peakRssMB)),
    peakRssMB: all.reduce((sum, peer) => sum + peer.peakRssMB, 0),
    eventLoopLagP99Ms: rounded(Math.max(...all.flatMap((peer) => peer.lagMs.slice(1)))),
  }
}

async function eventLoopLagMs(http) {
  const text = await (await fetch(`${http}/metrics`)).text()
  return 1000 * Number(/^comigs_event_loop_lag_seconds (\S+)$/m.exec(text)[1])
}

/** Expert steps at growing sizes, in turns. */
async function grow(what) {
  const sizes = []
  for (const { x, model, mixture, context } of SIZES[what]) {
    console.error(`${what} ${x}: first step ...`)
    const base = workload({ ...demo, ...model })
    const work = { ...base, mixture: { ...base.mixture, ...mixture }, context: context ?? base.context }
    const args = nodeArguments('node-engine.mjs', work, threads, '--engine', 'onnx')
    const child = startCompetitor(`${what} ${x}`, process.execPath, args)
    const [firstStepMs] = (await child.ask('run expert 1')).ms
    sizes.push({ x, work, child, firstStepMs, ms: [], cpuMs: [] })
  }
  for (let turn = 0; turn < TURNS; turn++) {
    for (const size of sizes) {
      const { ms, cpuMs } = await size.child.ask(`run expert ${STEPS_A_TURN}`)
      size.ms.push(...ms)
      size.cpuMs.push(cpuMs)
    }
  }
  const rows = []
  for (const { x, work, child, firstStepMs, ms, cpuMs } of sizes) {
    const msPerStep = median(ms)
    rows.push({
      [what]: x,
      msPerStep: rounded(msPerStep),
      cpuMsPerStep: rounded(median(cpuMs)),
      tokensPerSecond: Math.round((1000 * work.batch * work.context) / msPerStep),
      peakRssMB: peakMemoryMB(child.pid),
      firstStepMs: Math.round(firstStepMs),
    })
    await child.stop()
  }
  return rows
}

/** Does memory stay flat? The `small` shape, so that it takes minutes. */
async function soak() {
  const args = nodeArguments('node-engine.mjs', workload(SHAPES.small), threads, '--engine', 'onnx')
  const child = startCompetitor('soak', process.execPath, args)
  const rows = []
  for (let sample = 1; sample <= SOAK_SAMPLES; sample++) {
    console.error(`soak ${sample} of ${SOAK_SAMPLES} ...`)
    const { ms } = await child.ask(`run expert ${SOAK_STEPS / SOAK_SAMPLES}`)
    const steps = (sample * SOAK_STEPS) / SOAK_SAMPLES
    rows.push({ soak: steps, rssMB: residentMemoryMB(child.pid), msPerStep: rounded(median(ms)) })
  }
  await child.stop()
  return rows
}

function plot(folder) {
  mkdirSync(folder, { recursive: true })
  for (const what of wanted.filter((each) => each !== 'soak')) {
    for (const [key, y, name] of [
      ['tokensPerSecond', 'tokens per second', 'speed'],
      ['peakRssMB', 'peak resident memory, MB', 'memory'],
    ]) {
      const points = result[what].map((row) => ({ x: row[what], y: row[key] }))
      const title = what === 'peers' ? 'All peers of one machine together' : `One peer, by ${what}`
      writeFileSync(join(folder, `${what}-${name}.svg`), linePlot({ title, x: what, y, points }))
    }
  }
}
