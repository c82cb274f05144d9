import { createServer, type Server } from 'node:net'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Finding } from '../../packages/node/src/doctor.ts'
import { PeerProcess, peerArguments, runCli } from '../support/peer-process.ts'
import { LANGUAGES, writeTinyBase } from '../support/tiny-base.ts'

const TEXT = join(LANGUAGES, 'fr.valid.txt')

let folder: string
let base: string
let peer: PeerProcess
let address: string
let federation: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comigs-doctor-'))
  base = await writeTinyBase(join(folder, 'base'))
  peer = new PeerProcess(peerArguments('fr', base, join(folder, 'peer')))
  address = (await peer.waitFor('listening')).addresses[0]!
  federation = (await peer.waitFor('federation')).federation
})
afterAll(async () => {
  await peer.kill('SIGKILL')
  await rm(folder, { recursive: true, force: true })
})

let states = 0

/** What the doctor finds, by check, and what it exits with. */
async function examined(...extra: readonly string[]) {
  const state = ['--state', join(folder, `state-${++states}`)]
  const { code, stdout, stderr } = await runCli([
    ...['doctor', '--json', '--base', base, '--context', '32'],
    ...(extra.includes('--state') ? [] : state),
    ...extra,
  ])
  expect(stderr).toBe('')
  const findings = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Finding)
  const of = (check: Finding['check']) => findings.find((finding) => finding.check === check)
  const statuses = Object.fromEntries(findings.map(({ check, status }) => [check, status]))
  return { code, statuses, of }
}

describe('the doctor', () => {
  it('finds nothing wrong where nothing is', async () => {
    const { code, statuses, of } = await examined(
      ...['--data', TEXT, '--bootstrap', address, '--federation', federation],
    )
    expect(statuses).toEqual({
      state: 'ok',
      engine: 'ok',
      data: 'ok',
      address: 'ok',
      dial: 'ok',
      handshake: 'ok',
      protocol: 'ok',
      manifest: 'ok',
      clock: 'ok',
      reachability: 'ok',
      base: 'ok',
      memory: 'ok',
    })
    expect(of('manifest')!.found).toContain(federation)
    expect(code).toBe(0)
  })

  it('only warns of what works, but could be better', async () => {
    const { code, of } = await examined('--bootstrap', address.replace(/\/p2p\/.*/, ''))
    expect(of('address')).toMatchObject({ status: 'warn' })
    expect(of('address')!.advice).toContain('/p2p/')
    expect(of('manifest')).toMatchObject({ status: 'warn' })
    expect(of('manifest')!.advice).toContain(`--federation ${federation.slice(0, 16)}`)
    expect(of('data')).toMatchObject({ status: 'skipped' })
    expect(code).toBe(0)
  })

  describe('at an address', () => {
    let server: Server
    let port: number
    beforeAll(async () => {
      server = createServer((socket) => {
        socket.on('error', () => undefined)
        socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')
      }).listen(0, '127.0.0.1')
      await once(server, 'listening')
      port = (server.address() as { port: number }).port
    })
    afterAll(() => server.close())

    it.each<[string, () => string, number, Finding['status'][]]>([
      ['that is none', () => 'localhost:4001', 2, ['fail', 'skipped', 'skipped', 'skipped']],
      ['where nobody is', () => '/ip4/127.0.0.1/tcp/1', 5, ['warn', 'fail', 'skipped', 'skipped']],
      ['where somebody else is', () => `/ip4/127.0.0.1/tcp/${port}`, 5, ['warn', 'ok', 'fail', 'skipped']],
      [
        'where another peer is than it says',
        () => address.replace(/\/p2p\/.*/, '/p2p/12D3KooWSnZHSAXStytjmiHRwdCySPytTV8zPfjytadEE4WnfaQf'),
        5,
        ['ok', 'ok', 'fail', 'skipped'],
      ],
    ])('%s says how far it came, and what to do', async (_, at, exit, expected) => {
      const { code, statuses, of } = await examined('--bootstrap', at())
      const steps = ['address', 'dial', 'handshake', 'protocol'] as const
      expect(steps.map((step) => statuses[step])).toEqual(expected)
      const failed = steps.find((step) => statuses[step] === 'fail')!
      expect(of(failed)!.advice).toMatch(/\w/)
      expect(statuses).not.toHaveProperty('manifest')
      expect(code).toBe(exit)
    })
  })

  it('names the field in which federations differ', async () => {
    const other = join(folder, 'other')
    const second = new PeerProcess(peerArguments('de', base, other))
    await second.waitFor('round')
    await second.kill('SIGKILL')
    const { code, of } = await examined('--state', other, '--bootstrap', address)
    expect(of('manifest')).toMatchObject({ status: 'fail' })
    expect(of('manifest')!.found).toContain('"seed"')
    expect(code).toBe(6)
  })

  it('says so when the federation is not the one that is meant', async () => {
    const { code, of } = await examined('--bootstrap', address, '--federation', 'abcd')
    expect(of('manifest')).toMatchObject({ status: 'fail', exitCode: 6 })
    expect(code).toBe(6)
  })

  it('sees that a state folder is in use, and looks at the rest all the same', async () => {
    const { code, statuses, of } = await examined('--state', join(folder, 'peer'), '--data', TEXT)
    expect(statuses).toMatchObject({ state: 'fail', engine: 'ok', data: 'ok', base: 'ok' })
    expect(of('state')!.found).not.toContain('--state')
    expect(of('state')!.advice).toContain('--state')
    expect(code).toBe(7)
  })

  it('sees that sequences are longer than the base has positions for', async () => {
    const { code, of } = await examined('--context', '65')
    expect(of('memory')).toMatchObject({ status: 'fail', exitCode: 2 })
    expect(of('memory')!.found).toContain('--context is 65, expected at most 64')
    expect(code).toBe(2)
  })

  it('sees what is wrong with text and base', async () => {
    const short = join(folder, 'short.txt')
    await writeFile(short, 'A few words.\n')
    const { code, statuses, of } = await examined('--data', short)
    expect(statuses['data']).toBe('fail')
    expect(of('data')!.advice).toContain('--data')
    expect(code).toBe(3)
    const missing = await examined('--base', join(folder, 'nowhere'), '--data', TEXT)
    expect(missing.statuses).toMatchObject({ state: 'ok', engine: 'ok', data: 'ok', base: 'fail' })
    expect(missing.of('base')!.found).toContain(join(folder, 'nowhere'))
    expect(missing.of('base')!.advice).toContain('--base')
    expect(missing.code).toBe(4)
  })
})
