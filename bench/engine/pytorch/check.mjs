// Do all competitors compute the same? Trains each on the same weights and batches, expert steps, then router steps, and
// compares the losses with those of the `onnx` engine. `COMIGS_PYTHON=... node bench/engine/pytorch/check.mjs [shape] [--gpu]`
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  baseLayout,
  namedArrays,
  selectEngine,
  trainedLayout,
  writeSafetensors,
} from '../../../packages/model/dist/index.js'
import { createSteps, randomBatch, randomValues, SHAPES, workload } from '../workload.mjs'
import { stepArguments, VARIANTS } from './pytorch.mjs'

const STEPS = 5
/** Differences of single precision; bfloat16 has 8 bits, so its losses are only near. */
const TOLERANCE = { authors: 1e-4, best: 1e-4, 'best-bf16': 5e-2 }

const python = process.env.COMIGS_PYTHON ?? 'python3'
const { values, positionals } = parseArgs({ options: { gpu: { type: 'boolean' } }, allowPositionals: true })
const { gpu = false } = values
const work = workload(SHAPES[positionals[0] ?? 'small'])

const { engine } = await selectEngine({ engine: gpu ? 'onnx-webgpu' : 'onnx', threads: 2 })
const steps = createSteps(engine, work)
const ours = { expert: [], router: [] }
for (const kind of ['expert', 'router']) {
  for (let k = 0; k < STEPS; k++) ours[kind].push(await steps.run(kind))
}
engine.dispose()

const folder = mkdtempSync(join(tmpdir(), 'comigs-check-'))
let failed = false
try {
  const file = join(folder, 'weights.safetensors')
  const trained = trainedLayout(work.model, work.mixture)
  const arrays = [baseLayout(work.model), trained.experts, trained.router].flatMap((layout) =>
    namedArrays(layout, randomValues(layout)),
  )
  for (let k = 0; k < STEPS; k++) {
    const batch = randomBatch(work, k)
    for (const name of ['tokens', 'targets'])
      // As floats, which hold these exactly: our writer knows no integers.
      arrays.push({
        name: `${name}.${k}`,
        shape: [batch[name].length],
        values: Float32Array.from(batch[name]),
      })
  }
  writeFileSync(file, writeSafetensors(arrays))
  for (const variant of VARIANTS) {
    const args = [...stepArguments(variant, work, { threads: 2, gpu }, { steps: STEPS }), '--check', file]
    const { status, stdout, stderr } = spawnSync(python, args, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`${variant}: ${stderr}`)
    const theirs = JSON.parse(stdout)
    const differences = ['expert', 'router'].flatMap((kind) =>
      ours[kind].map((loss, k) => Math.abs(loss - theirs[kind][k])),
    )
    const worst = Math.max(...differences)
    const good = worst <= TOLERANCE[variant]
    failed ||= !good
    console.log(
      `${variant.padEnd(10)} worst difference of ${differences.length} losses ${worst.toExponential(1)} ${good ? '' : `> ${TOLERANCE[variant]}`}`,
    )
    if (!good) console.log(JSON.stringify({ ours, theirs }, null, 1))
  }
} finally {
  rmSync(folder, { recursive: true })
}
process.exit(failed ? 1 : 0)
