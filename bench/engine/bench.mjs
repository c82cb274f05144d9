// Which engine makes how many tokens a second with one CoMiGS training step? All in one run, in turns. See README.md.
import { parseArgs } from 'node:util'
import { ENGINES } from '../../packages/model/dist/index.js'
import { machine } from '../machine.mjs'
import { peakMemoryMB } from '../process-tree.mjs'
import { median, rounded } from '../statistics.mjs'
import { usefulFlops } from './flops.mjs'
import { nodeArguments, startCompetitor } from './line-protocol.mjs'
import { profile } from './profile.mjs'
import { pythonProblem, stepArguments, VARIANTS } from './pytorch/pytorch.mjs'
import { BATCH, CONTEXT, SHAPES, workload } from './workload.mjs'

const STEPS = ['expert', 'router']
/** A turn lasts at least so long, so that a competitor finds its caches warm after the one before. */
const TURN_MS = 500
/** One that takes longer than this for a step needs no more than a few turns to show it. */
const SLOW_STEP_MS = 10_000
const SLOW_ROUNDS = 2

/**
 * glibc gives large arrays back to the system after each use, and the next step pays for their pages again. Part of
 * "as well as we can"; the authors' way runs as it would.
 */
const MALLOC = { MALLOC_MMAP_THRESHOLD_: '4294967296', MALLOC_TRIM_THRESHOLD_: '4294967296' }

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    shape: { type: 'string', default: 'demo' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string' },
    profile: { type: 'boolean', default: false },
    gpu: { type: 'boolean', default: false },
  },
})
const threads = Number(flags.threads)
const OURS = flags.gpu ? 'onnx-webgpu' : 'onnx'
if (SHAPES[flags.shape] === undefined) {
  console.error(`--shape ${flags.shape}: expected one of ${Object.keys(SHAPES).join(', ')}`)
  process.exit(2)
}
const work = workload(SHAPES[flags.shape])

async function compare() {
  const started = machine()
  const absent = []
  const leave = (name, reason) => {
    console.error(`${name} is left out: ${reason}`)
    absent.push({ name, reason })
  }
  const competitors = []
  for (const candidate of candidates(leave)) {
    console.error(`${candidate.name}: first steps ...`)
    try {
      competitors.push(await firstSteps(candidate))
    } catch (error) {
      leave(candidate.name, error.message)
    }
  }
  const ours = competitors.find(({ name }) => name === OURS)
  if (ours === undefined) throw new Error(`the ${OURS} engine does not run here: nothing to compare with`)
  // Of the CPU's peak; a GPU's share of that says nothing.
  const sgemm = flags.gpu
    ? undefined
    : startCompetitor('sgemm', process.execPath, nodeArguments('sgemm.mjs', work, threads))

  const pairs = []
  const shares = []
  for (let round = 0; round < Number(flags.rounds); round++) {
    console.error(`round ${round + 1} of ${flags.rounds}`)
    for (const step of STEPS) {
      if (sgemm !== undefined) {
        const { gflops } = await sgemm.ask('run sgemm 1')
        const { total } = usefulFlops(work, step)
        const own = await turn(ours, step)
        shares.push({ step, gflops, ours: total / own.ms / 1e6 })
      }
      for (const other of competitors) {
        if (other === ours || (other.slow && round >= SLOW_ROUNDS)) continue
        // Ours right beside each: what else happens on the machine then happens to both.
        const [theirs, mine] = [await turn(other, step), await turn(ours, step)]
        pairs.push({
          step,
          other: other.name,
          ratio: theirs.ms / mine.ms,
          cpuRatio: theirs.cpuMs / mine.cpuMs,
        })
      }
    }
  }
  for (const competitor of competitors) competitor.peakRssMB = peakMemoryMB(competitor.process.pid)
  await Promise.all([sgemm, ...competitors.map((one) => one.process)].map((process) => process?.stop()))
  report({ started, competitors, pairs, shares, absent })
}

/** Everything that might run here, in order. */
function* candidates(leave) {
  const wanted = (name) => flags.only === undefined || [OURS, ...flags.only.split(',')].includes(name)
  // `cpu` is the tests' oracle: minutes a step.
  for (const name of [...ENGINES.filter((engine) => engine !== 'cpu'), 'tfjs-wasm']) {
    if (!wanted(name)) continue
    yield {
      name,
      command: process.execPath,
      args: nodeArguments('node-engine.mjs', work, threads, '--engine', name),
    }
  }
  const variants = VARIANTS.filter((variant) => wanted(`pytorch-${variant}`))
  if (variants.length === 0) return
  const python = process.env.COMIGS_PYTHON ?? 'python3'
  const problem = pythonProblem(python)
  if (problem !== undefined) return leave('pytorch', `${problem} (COMIGS_PYTHON names another Python)`)
  for (const variant of variants)
    yield {
      name: `pytorch-${variant}`,
      command: python,
      args: stepArguments(variant, work, { threads, gpu: flags.gpu }),
      env: variant === 'authors' ? {} : MALLOC,
    }
}

/** Starts a competitor and makes its first steps, which compile. */
async function firstSteps({ name, command, args, env }) {
  const process = startCompetitor(name, command, args, env)
  const { device } = await process.ask('describe')
  const perStep = () => ({ expert: [], router: [] })
  const competitor = {
    name,
    device,
    process,
    firstStepMs: {},
    times: perStep(),
    cpuTimes: perStep(),
    count: {},
  }
  for (const step of STEPS) {
    const [first] = (await process.ask(`run ${step} 1`)).ms
    const [second] = (await process.ask(`run ${step} 1`)).ms
    competitor.firstStepMs[step] = first
    competitor.count[step] = Math.max(1, Math.round(TURN_MS / second))
    competitor.slow ||= second > SLOW_STEP_MS
  }
  return competitor
}

/** @returns the time of a step in one turn: the median, and the mean of processor time */
async function turn({ process, count, times, cpuTimes }, step) {
  const { ms, cpuMs } = await process.ask(`run ${step} ${count[step]}`)
  times[step].push(...ms)
  cpuTimes[step].push(cpuMs)
  return { ms: median(ms), cpuMs }
}

function report({ started, competitors, pairs, shares, absent }) {
  const tokens = BATCH * CONTEXT
  const results = competitors.flatMap(({ name, device, times, cpuTimes, firstStepMs, peakRssMB }) =>
    STEPS.map((step) => {
      const msPerStep = median(times[step])
      return {
        name,
        threads: name === 'tfjs-wasm' ? 1 : threads,
        step,
        msPerStep: rounded(msPerStep),
        tokensPerSecond: Math.round((tokens * 1000) / msPerStep),
        cpuMsPerStep: rounded(median(cpuTimes[step])),
        peakRssMB,
        firstStepMs: Math.round(firstStepMs[step]),
        steps: times[step].length,
        device,
      }
    }),
  )
  const ratios = competitors
    .filter(({ name }) => name !== OURS)
    .flatMap(({ name }) =>
      STEPS.map((step) => {
        const own = pairs.filter((pair) => pair.other === name && pair.step === step)
        const ratio = own.map((pair) => pair.ratio)
        return {
          ours: OURS,
          other: name,
          step,
          ratio: rounded(median(ratio), 2),
          low: rounded(Math.min(...ratio), 2),
          high: rounded(Math.max(...ratio), 2),
          // What a busy machine cannot spoil, for one thread.
          cpuRatio: rounded(median(own.map((pair) => pair.cpuRatio)), 2),
          pairs: own.length,
        }
      }),
    )
  const peak = (shares.length === 0 ? [] : STEPS).map((step) => {
    const own = shares.filter((share) => share.step === step)
    const best = ({ gflops }) => Math.max(...Object.values(gflops))
    return {
      step,
      usefulGflop: rounded(usefulFlops(work, step).total / 1e9, 2),
      oursGflops: rounded(median(own.map((share) => share.ours))),
      sgemmGflops: rounded(median(own.map(best))),
      share: rounded(median(own.map((share) => share.ours / best(share))), 3),
    }
  })
  const sgemm = Object.fromEntries(
    Object.keys(shares[0]?.gflops ?? {}).map((shape) => [
      shape,
      rounded(median(shares.map(({ gflops }) => gflops[shape]))),
    ]),
  )
  if (flags.json) {
    const what = { shape: flags.shape, batch: BATCH, context: CONTEXT, threads, machine: started }
    console.log(JSON.stringify({ ...what, results, ratios, peak, sgemm, absent }))
    return
  }
  console.log(
    `\n${flags.shape}, batch ${BATCH} x ${CONTEXT}, ${threads} threads, load ${started.load} at the start`,
  )
  console.table(results.map(({ device: _, ...row }) => row))
  console.log('Tokens per second, ours / theirs: median of pairs, smallest, largest')
  console.table(ratios)
  if (shares.length === 0) return
  console.log('Share of the sgemm peak over the useful matrix operations')
  console.table(peak)
  console.table(sgemm)
}

if (flags.profile) await profile({ shape: flags.shape, work, threads, json: flags.json })
else await compare()
