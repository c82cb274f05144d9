// Where the time of our steps goes, by ONNX operator: ONNX Runtime's own profile.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { selectEngine } from '../../packages/model/dist/index.js'
import { machine } from '../machine.mjs'
import { rounded } from '../statistics.mjs'
import { createSteps } from './workload.mjs'

const ort = createRequire(new URL('../../packages/model/package.json', import.meta.url))('onnxruntime-node')

/** Enough for shares; the profile keeps every node of every step in memory. */
const STEPS = 5
/** The first steps touch fresh memory, and malloc learns what sizes to keep. */
const WARM_UP = 5
const PRODUCTS = ['Gemm', 'MatMul', 'FusedMatMul']

const KINDS = ['expert', 'router']

/** Prints a table by operator and one by operator and shape, for the expert and the router step. */
export async function profile({ shape, work, threads, json }) {
  const result = { shape, threads, machine: machine(), steps: STEPS, ...(await profileSteps(work, threads)) }
  if (json) {
    console.log(JSON.stringify(result))
    return
  }
  for (const kind of KINDS) {
    console.log(`\n${shape}, ${kind} step, ${threads} threads: by operator (milliseconds a step)`)
    console.table(result[kind].operators)
    console.log('by operator and shape, the first 40')
    console.table(result[kind].shapes.slice(0, 40))
  }
}

/** Phase after phase, as in a peer: what malloc keeps of one step the other finds, and only one has threads that look for work. */
async function profileSteps(work, threads) {
  const folder = mkdtempSync(join(tmpdir(), 'comigs-profile-'))
  const sessions = new Set()
  let made = 0
  const end = (session) => {
    if (sessions.delete(session)) session.endProfiling()
  }
  const { create } = ort.InferenceSession
  // The engine loads the same module: its sessions now keep a profile.
  ort.InferenceSession.create = async (bytes, options) => {
    const session = await create.call(ort.InferenceSession, bytes, {
      ...options,
      enableProfiling: true,
      profileFilePrefix: join(folder, String(made).padStart(3, '0')),
    })
    const release = session.release.bind(session)
    session.release = () => {
      end(session)
      return release()
    }
    made += 1
    sessions.add(session)
    return session
  }
  const { engine } = await selectEngine({ engine: 'onnx', threads })
  try {
    const steps = createSteps(engine, work)
    const phase = async (count) => {
      for (const kind of KINDS) for (let i = 0; i < count; i++) await steps.run(kind)
    }
    await phase(WARM_UP)
    await phase(WARM_UP + STEPS)
    for (const session of sessions) end(session)
    const files = readdirSync(folder)
      .sort()
      .map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')))
    // Sessions of large steps take turns in memory, and are made again: of each kind the last one counts.
    const lastOf = (i) => files.filter((_, j) => j % KINDS.length === i).at(-1)
    return Object.fromEntries(KINDS.map((kind, i) => [kind, summary(lastOf(i))]))
  } finally {
    ort.InferenceSession.create = create
    engine.dispose()
    rmSync(folder, { recursive: true })
  }
}

function summary(events) {
  const runs = events.filter((event) => event.name === 'model_run')
  const from = runs.sort((a, b) => a.ts - b.ts).at(-STEPS).ts
  const nodes = events.filter(
    ({ name, cat, ts }) => cat === 'Node' && name.endsWith('_kernel_time') && ts >= from,
  )
  const total = nodes.reduce((sum, { dur }) => sum + dur, 0)
  const operators = new Map()
  const shapes = new Map()
  for (const { args, dur } of nodes) {
    const [inputs, outputs] = [args.input_type_shape, args.output_type_shape].map((list) =>
      list.map((one) => Object.values(one)[0]),
    )
    const isProduct = PRODUCTS.includes(args.op_name)
    const flops = isProduct ? productFlops(inputs, outputs[0]) : 0
    const what = isProduct
      ? `${args.op_name} ${inputs.map(joined).join(' , ')} -> ${joined(outputs[0])}`
      : `${args.op_name} ${joined(outputs[0])}`
    add(operators, args.op_name, dur, flops)
    add(shapes, what, dur, flops)
  }
  return {
    msPerStep: rounded(total / STEPS / 1000),
    operators: rows(operators, total),
    shapes: rows(shapes, total),
  }
}

const joined = (dims) => dims.join('x')

/** 2 M N K, whichever way the operands lie: the first has M K elements, the output M N. */
function productFlops([a], output) {
  const size = (dims) => dims.reduce((product, dim) => product * dim, 1)
  return 2 * size(a) * output.at(-1)
}

function add(table, key, dur, flops) {
  const row = table.get(key) ?? { calls: 0, us: 0, flops: 0 }
  table.set(key, { calls: row.calls + 1, us: row.us + dur, flops: row.flops + flops })
}

function rows(table, total) {
  return [...table]
    .sort(([, a], [, b]) => b.us - a.us)
    .map(([what, { calls, us, flops }]) => ({
      what,
      ms: rounded(us / STEPS / 1000, 2),
      share: rounded(us / total, 3),
      calls: calls / STEPS,
      ...(flops === 0 ? {} : { gflops: rounded(flops / us / 1000) }),
    }))
}
