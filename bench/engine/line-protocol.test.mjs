import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { peakMemoryMB, processTree } from '../process-tree.mjs'
import { startCompetitor } from './line-protocol.mjs'

const PROTOCOL = fileURLToPath(new URL('line-protocol.mjs', import.meta.url))
const script = (body) => `import { serve } from ${JSON.stringify(PROTOCOL)}\n${body}`
const start = (body) =>
  startCompetitor('child', process.execPath, ['--input-type=module', '-e', script(body)])

describe('a competitor', () => {
  it('answers line by line, and ends when it is stopped', async () => {
    const child = start('let n = 0; await serve(async (words) => ({ n: ++n, words }))')
    expect(await child.ask('run expert 3')).toEqual({ n: 1, words: ['run', 'expert', '3'] })
    expect(await child.ask('describe')).toEqual({ n: 2, words: ['describe'] })
    await child.stop()
    expect(processTree(process.pid)).not.toContain(child.pid)
  })

  it('that fails tells its reason', async () => {
    const child = start('await serve(async () => { throw new TypeError("no such kernel") })')
    await expect(child.ask('run')).rejects.toThrow('child ended with 1: TypeError: no such kernel')
  })

  it('that is not there tells its name', async () => {
    const child = startCompetitor('python', 'no-such-program', [])
    await expect(child.ask('run')).rejects.toThrow(/^python .*no-such-program/)
  })

  it('is measured with the processes that it starts', async () => {
    const child = start(`
      import { spawn } from 'node:child_process'
      const grandchild = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'ignore'] })
      let kept
      await serve(async () => ({ pid: grandchild.pid, bytes: (kept = Buffer.alloc(2e8, 1)).length }))
      grandchild.kill()
    `)
    const before = peakMemoryMB(child.pid)
    const { pid, bytes } = await child.ask('allocate')
    expect(processTree(child.pid)).toContain(pid)
    expect(peakMemoryMB(child.pid)).toBeGreaterThan(before + bytes / 2e6)
    await child.stop()
  })
})
