import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createOnnxEngine } from '../../packages/model/src/engine/onnx-engine.ts'
import { onnxWebgpu } from '../../packages/model/src/engine/onnx/runtimes.ts'
import { selectEngine } from '../../packages/model/src/engine/select.ts'
import { engineContract } from '../../packages/model/test/contract/engine.ts'
import { inputsFor, type NamedStep, placeFor, STEPS } from '../../packages/model/test/helpers/steps.ts'

// Needs a GPU, or one in software: Debian's mesa-vulkan-drivers 25 (of bookworm-backports) has it, 22 is refused.
const missing = await selectEngine({ engine: 'onnx-webgpu' }).then(
  ({ engine }) => {
    engine.dispose()
    return undefined
  },
  (error: unknown) => String(error),
)
if (missing !== undefined) process.stderr.write(`\nSKIPPED, nothing was tested: ${missing}\n\n`)

describe.skipIf(missing !== undefined)('with a WebGPU device', () => {
  engineContract('onnx-webgpu')

  it.each(STEPS)('every node runs on it: $name', async (one) => {
    const nodes = await nodesOf(one)
    expect(nodes.length).toBeGreaterThan(40)
    expect(nodes.filter(({ provider }) => provider !== 'WebGpuExecutionProvider')).toEqual([])
  })
})

interface ProfiledNode {
  readonly operator: string
  readonly provider: string
}

/** Where each node of a step ran, from ONNX Runtime's own profile. */
async function nodesOf(one: NamedStep): Promise<ProfiledNode[]> {
  const folder = await mkdtemp(join(tmpdir(), 'comigs-webgpu-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const runtime = await onnxWebgpu()
  const profiling = { enableProfiling: true, profileFilePrefix: join(folder, 'profile') }
  const session = () => ({ ...runtime.session({ isLarge: false }), ...profiling })
  const engine = createOnnxEngine({ ...runtime, session })
  placeFor(engine, one)
  const program = await engine.compile(one.step)
  await program.run(inputsFor(one))
  program.dispose() // writes the profile, when its turn comes
  await engine.read(one.step.reads[0]!)
  engine.dispose()
  const nodes: ProfiledNode[] = []
  for (const file of await readdir(folder)) {
    const text = await readFile(join(folder, file), 'utf8')
    if (text === '') continue // of a session that never ran
    for (const { name, args } of JSON.parse(text) as ProfileEvent[])
      if (name.endsWith('_kernel_time')) nodes.push({ operator: args.op_name, provider: args.provider })
  }
  return nodes
}

interface ProfileEvent {
  readonly name: string
  readonly args: { readonly op_name: string; readonly provider: string }
}
