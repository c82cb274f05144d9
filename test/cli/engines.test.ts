import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { peerArguments, PeerProcess, runCli } from '../support/peer-process.ts'
import { REPOSITORY, writeTinyBase } from '../support/tiny-base.ts'

/** Runs a module in a process of its own where no native ONNX Runtime loads, as on musl. */
function withoutNative(code: string): Promise<string> {
  const hook = `export const resolve = (name, context, next) => {
    if (name === 'onnxruntime-node') throw new Error('ld-linux-x86-64.so.2: cannot open shared object file')
    return next(name, context)
  }`
  const register = `import { register } from 'node:module'
    register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hook)}`)})`
  const hooks = ['--import', `data:text/javascript,${encodeURIComponent(register)}`]
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...hooks, '--input-type=module', '--eval', code], {
      cwd: join(REPOSITORY, 'packages/node'), // where @comigs/model is found
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let stdout = ''
    child.stdout.on('data', (data: Buffer) => (stdout += data.toString()))
    child.on('error', reject)
    child.on('close', () => resolve(stdout))
  })
}

it('auto falls back to WebAssembly where no native library loads, and says why', async () => {
  const said = await withoutNative(`
    import { selectEngine } from '@comigs/model'
    const { engine, reason } = await selectEngine({ engine: 'auto' })
    console.log(JSON.stringify({ name: engine.name, reason }))`)
  const { name, reason } = JSON.parse(said) as { name: string; reason: string }
  expect(name).toBe('onnx-wasm')
  expect(reason).toMatch(/onnxruntime-node does not load: ld-linux.*"tensorflow" cannot be used here/)
})

it('--help-all names every engine, and what auto takes', async () => {
  const { stdout } = await runCli(['--help-all'])
  const help = stdout.replace(/\s+/g, ' ')
  expect(help).toContain('auto: the first that loads of onnx, tensorflow, onnx-wasm')
  expect(help).toContain('onnx-webgpu')
})

describe('a peer on onnx-wasm', () => {
  let folder: string
  let peer: PeerProcess
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'comigs-e2e-'))
    const base = await writeTinyBase(join(folder, 'base'))
    const extra = ['--engine', 'onnx-wasm', '--threads', '2']
    peer = new PeerProcess(peerArguments('fr', base, join(folder, 'fr'), extra))
  })
  afterAll(async () => {
    await peer.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  })

  it('trains in its worker, and says what computes', async () => {
    const { engine, reason } = await peer.waitFor('engine')
    expect({ engine, reason }).toEqual({ engine: 'onnx-wasm', reason: 'asked for with --engine onnx-wasm' })
    const { http } = await peer.waitFor('listening')
    await peer.waitFor('round', ({ round }) => round >= 5)
    const rounds = peer.all('round')
    expect(rounds.at(-1)!.validLoss).toBeLessThan(rounds[0]!.validLoss!)
    const metrics = await (await fetch(`${http}/metrics`)).text()
    expect(metrics).toMatch(
      /comigs_info\{.*engine="onnx-wasm",engine_reason="asked for with --engine onnx-wasm",device="ONNX Runtime 1\.30\.0 in WebAssembly, 2 threads"/,
    )
  })
})
