import * as tf from '@tensorflow/tfjs-core'
import { readFileSync } from 'node:fs'
import util from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { selectEngine } from '../src/engine/select.ts'
import { engineContract } from './contract/engine.ts'
import { freshEngine } from './helpers/engines.ts'
import { refusal } from './helpers/refusals.ts'
import { inputsFor, type NamedStep, placeFor, STEPS } from './helpers/steps.ts'

/** Written by scripts/fixtures/tfjs-node-kernels.mjs. */
interface Registered {
  readonly package: string
  readonly version: string
  readonly kernels: readonly string[]
}
const file = new URL('./fixtures/tfjs-node-kernels.json', import.meta.url)
const registered = JSON.parse(readFileSync(file, 'utf8')) as Registered

/** libtensorflow cannot be installed everywhere, but which kernels tfjs-node has for it can be known. */
describe(`kernels of ${registered.package} ${registered.version}`, () => {
  it.each(STEPS)('do for: $name', async (one) => {
    const tfjs = (await kernelsOf(one)).filter((name) => !name.startsWith('comigs.'))
    expect(tfjs).toContain('BatchMatMul')
    expect(tfjs.filter((name) => !registered.kernels.includes(name))).toEqual([])
  })

  it('are joined by our own operators', async () => {
    const used: string[] = []
    for (const one of STEPS) used.push(...(await kernelsOf(one)))
    const ours = [...new Set(used)].filter((name) => name.startsWith('comigs.'))
    expect(ours.length).toBeGreaterThan(8)
    const kernels = tf.getKernelsForBackend('tensorflow').map(({ kernelName }) => kernelName)
    expect(kernels).toEqual(expect.arrayContaining(ours))
  })
})

/** What the eager engine really runs, forward and backward; on the oracle's backend, which runs the same. */
async function kernelsOf(one: NamedStep): Promise<string[]> {
  const engine = await freshEngine('cpu')
  placeFor(engine, one)
  const program = await engine.compile(one.step)
  const { kernelNames } = await tf.profile(async () => {
    await program.run(inputsFor(one))
    return []
  })
  return kernelNames.filter((name) => !name.endsWith('__op')) // an operator with a gradient of its own, not a kernel
}

const missing = await selectEngine({ engine: 'tensorflow' }).then(
  ({ engine }) => {
    engine.dispose()
    return undefined
  },
  (error: unknown) => String(error),
)

describe.runIf(missing === undefined)('where tfjs-node is installed', () => {
  engineContract('tensorflow')
})

describe.runIf(missing !== undefined)('where tfjs-node is not installed', () => {
  it('says what is missing and how to get it', async () => {
    const detail = await refusal(() => selectEngine({ engine: 'tensorflow' }))
    expect(detail).toMatchObject({ code: 'ENGINE_UNAVAILABLE', engine: 'tensorflow' })
    expect(detail).toHaveProperty('reason', expect.stringContaining('npm install @tensorflow/tfjs-node-gpu'))
  })
})

it('gives tfjs-node the function that newer Nodes took from it', async () => {
  const node = util as unknown as Record<string, ((value: unknown) => boolean) | undefined>
  const own = node['isNullOrUndefined']
  onTestFinished(() => {
    node['isNullOrUndefined'] = own
  })
  delete node['isNullOrUndefined']
  await selectEngine({ engine: 'tensorflow' }).catch(() => undefined)
  expect([null, undefined, 0, ''].map((value) => node['isNullOrUndefined']!(value))).toEqual([
    true,
    true,
    false,
    false,
  ])
})
