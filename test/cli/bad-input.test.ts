import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { forRounds, newManifest } from '../../packages/node/src/new-manifest.ts'
import { type Finished, peerArguments, PeerProcess, runCli } from '../support/peer-process.ts'
import { LANGUAGES, writeTinyBase } from '../support/tiny-base.ts'

let folder: string
let base: string
let garbage: Server
let garbagePort: number
let unique = 0

const at = (name: string) => join(folder, name)
const freshState = () => at(`state-${unique++}`)
const TEXT = join(LANGUAGES, 'fr.valid.txt')

/** A peer on good text and a good base, but for what `args` change. */
const peer = (args: readonly string[]): Promise<Finished> =>
  runCli([
    '--state',
    freshState(),
    '--listen',
    '/ip4/127.0.0.1/tcp/0',
    '--context',
    '32',
    '--batch',
    '2',
    '--rounds',
    '1',
    ...args,
  ])

const onBase = (args: readonly string[]) => peer(['--base', base, ...args])

function expectFailure(
  { code, stderr, stdout }: Finished,
  exitCode: number,
  errorCode: string,
  ...words: string[]
): void {
  expect(stderr).toContain(`[${errorCode}]`)
  for (const word of words) expect(stderr).toContain(word)
  expect(stderr).not.toMatch(/^\s+at .*\(/m) // no stack trace: this is the user's business, not ours
  expect(stdout).not.toContain('round')
  expect(code).toBe(exitCode)
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comigs-bad-'))
  base = await writeTinyBase(at('base'))
  garbage = createServer((socket: Socket) => {
    socket.on('error', () => undefined)
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')
  })
  await new Promise<void>((resolve) => garbage.listen(0, '127.0.0.1', resolve))
  garbagePort = (garbage.address() as { port: number }).port
})
afterAll(async () => {
  garbage.close()
  await rm(folder, { recursive: true, force: true })
})

describe('text', () => {
  it('that is missing', async () => {
    expectFailure(await onBase(['--data', at('nowhere')]), 3, 'DATA_MISSING', at('nowhere'))
  })
  it('that is empty', async () => {
    await writeFile(at('empty.txt'), ' \n')
    expectFailure(await onBase(['--data', at('empty.txt')]), 3, 'DATA_EMPTY', 'empty.txt')
  })
  it('that is binary, with the byte', async () => {
    await writeFile(
      at('binary.txt'),
      Buffer.concat([Buffer.from('good text '), Buffer.from([0xff, 0xfe, 0x00])]),
    )
    expectFailure(await onBase(['--data', at('binary.txt')]), 3, 'DATA_BINARY', 'binary.txt', 'byte 1')
  })
  it('that is too short for a sequence', async () => {
    await writeFile(at('short.txt'), 'A few words only, and no more than these.')
    expectFailure(await onBase(['--data', at('short.txt')]), 3, 'DATA_TOO_SHORT', 'needs 33')
  })
  it('that was not given', async () => {
    expectFailure(await onBase([]), 2, 'OPTION_MISSING', '--data', '--train')
  })
})

describe('flags', () => {
  it('that do not exist', async () => {
    const { code, stderr } = await peer(['--no-such-flag'])
    expect(stderr).toContain('--no-such-flag')
    expect(code).toBe(2)
  })
  it('with a value that is not one', async () => {
    const { code, stderr } = await onBase(['--data', TEXT, '--experts', 'many'])
    expect(stderr).toContain('--experts')
    expect(code).toBe(2)
  })
})

it('a log that cannot be written', async () => {
  await writeFile(at('no-folder'), '')
  const result = await onBase(['--data', TEXT, '--log-file', join(at('no-folder'), 'log')])
  expectFailure(result, 2, 'OPTION_INVALID', '--log-file')
})

describe('a bootstrap address', () => {
  it('that is malformed', async () => {
    expectFailure(
      await onBase(['--data', TEXT, '--bootstrap', 'example.org:4001']),
      2,
      'ADDRESS_MALFORMED',
      'example.org:4001',
    )
  })
  it('where nobody listens: the dial failed', async () => {
    const result = await onBase(['--data', TEXT, '--bootstrap', '/ip4/127.0.0.1/tcp/1'])
    expectFailure(result, 5, 'BOOTSTRAP_FAILED', 'dial failed', 'comigs-peer doctor')
  })
  it('where another peer listens than it names: the handshake failed', async () => {
    const there = new PeerProcess(peerArguments('fr', base, freshState()))
    const { addresses, peerId } = await there.waitFor('listening')
    const other = '12D3KooWEvZF8djTpDEQ1xMaBcBdPJ3JaGeyt97re81A5eiHRj4c'
    const result = await onBase(['--data', TEXT, '--bootstrap', addresses[0]!.replace(peerId, other)])
    await there.kill('SIGKILL')
    expectFailure(result, 5, 'BOOTSTRAP_FAILED', 'handshake failed')
  })
  it('where something else listens: the handshake failed', async () => {
    const result = await onBase(['--data', TEXT, '--bootstrap', `/ip4/127.0.0.1/tcp/${garbagePort}`])
    expectFailure(result, 5, 'BOOTSTRAP_FAILED', 'handshake failed')
  })
})

describe('a federation', () => {
  const writeManifest = async (
    name: string,
    change: (manifest: Record<string, unknown>) => void,
  ): Promise<string> => {
    const schedule = forRounds(5)
    const manifest = await newManifest(base, {
      name: 'test',
      seed: 1,
      schedule,
      codec: { values: 'float32' },
      robust: true,
    })
    const changed = structuredClone(manifest) as unknown as Record<string, unknown>
    change(changed)
    await writeFile(at(name), JSON.stringify(changed))
    return at(name)
  }

  it('whose manifest has a bad field', async () => {
    const path = await writeManifest('bad.json', (manifest) => (manifest['localSteps'] = -1))
    expectFailure(await onBase(['--data', TEXT, '--manifest', path]), 6, 'MANIFEST_INVALID', 'localSteps')
  })
  it('whose manifest does not fit its base', async () => {
    const path = await writeManifest('misfit.json', (manifest) => (manifest['parameters'] = 7))
    expectFailure(await onBase(['--data', TEXT, '--manifest', path]), 6, 'MANIFEST_INVALID', 'parameters')
  })
  it('that is not the one asked for', async () => {
    const path = await writeManifest('other.json', () => undefined)
    const result = await onBase(['--data', TEXT, '--manifest', path, '--federation', 'abcdef'])
    expectFailure(result, 6, 'FEDERATION_UNEXPECTED', 'abcdef')
  })
  it('whose manifest is not JSON, or is there already', async () => {
    await writeFile(at('text.json'), 'text')
    expectFailure(
      await runCli(['manifest', 'check', at('text.json')]),
      6,
      'MANIFEST_INVALID',
      at('text.json'),
    )
    expectFailure(
      await runCli(['manifest', 'new', at('text.json'), '--base', base]),
      2,
      'OPTION_INVALID',
      'is there already',
    )
  })
  it('whose key is no file', async () => {
    const result = await onBase(['--data', TEXT, '--psk', at('nowhere')])
    expectFailure(result, 2, 'OPTION_INVALID', '--psk', 'is not a file')
  })
  it('whose base is not on this machine', async () => {
    const path = await writeManifest('no-base.json', (manifest) => {
      manifest['base'] = { ...(manifest['base'] as object), weights: '0'.repeat(64) }
    })
    expectFailure(
      await peer(['--data', TEXT, '--manifest', path]),
      4,
      'BASE_MISSING',
      '--base',
      '000000000000',
    )
    expectFailure(await onBase(['--data', TEXT, '--manifest', path]), 4, 'BASE_MISMATCH', 'weights')
  })
  it('that differs is refused by both sides, in words', async () => {
    const ours = await writeManifest('ours.json', () => undefined)
    const theirs = await writeManifest('theirs.json', (manifest) => (manifest['seed'] = 2))
    const first = new PeerProcess(peerArguments('fr', base, freshState(), ['--manifest', ours]))
    const { addresses } = await first.waitFor('listening')
    const second = new PeerProcess(
      peerArguments('de', base, freshState(), ['--manifest', theirs, '--bootstrap', addresses[0]!]),
    )
    try {
      for (const side of [first, second]) {
        const { code, message } = await side.waitFor('refused')
        expect(code).toBe('MANIFEST_MISMATCH')
        expect(message).toContain('"seed"')
      }
      // Neither stops for that.
      await first.waitFor('round')
      await second.waitFor('round')
    } finally {
      await Promise.all([first.kill('SIGKILL'), second.kill('SIGKILL')])
    }
  })
})

describe('a base', () => {
  const damaged = async (name: string, damage: (bytes: Buffer) => Buffer): Promise<string> => {
    const copy = await writeTinyBase(at(name))
    const path = join(copy, 'model.safetensors')
    await writeFile(path, damage(await readFile(path)))
    return copy
  }
  it('that is truncated', async () => {
    const bad = await damaged('truncated', (bytes) => bytes.subarray(0, bytes.length - 100))
    expectFailure(await peer(['--data', TEXT, '--base', bad]), 4, 'SAFETENSORS_INVALID', 'truncated')
  })
  it('with a value that is not finite', async () => {
    const bad = await damaged('infinite', (bytes) => {
      bytes.writeFloatLE(NaN, bytes.length - 4)
      return bytes
    })
    expectFailure(await peer(['--data', TEXT, '--base', bad]), 4, 'TENSOR_NON_FINITE', 'ln_f.bias')
  })
  it('that is not there', async () => {
    expectFailure(await peer(['--data', TEXT, '--base', at('nowhere')]), 4, 'BASE_UNREADABLE', '--base')
  })
  it('of an architecture that we do not know', async () => {
    const bad = await writeTinyBase(at('unknown'))
    await writeFile(
      join(bad, 'config.json'),
      JSON.stringify({ model_type: 'mamba', architectures: ['MambaForCausalLM'] }),
    )
    expectFailure(
      await peer(['--data', TEXT, '--base', bad]),
      4,
      'ARCHITECTURE_UNSUPPORTED',
      'MambaForCausalLM',
    )
  })
})

describe('an address', () => {
  /** The folder is not bound to a federation that nobody wanted: the next try may join another. */
  const expectUnbound = (state: string) => {
    expect(existsSync(join(state, 'manifest.json'))).toBe(false)
  }
  it('for HTTP that is in use', async () => {
    const state = freshState()
    const result = await onBase(['--data', TEXT, '--state', state, '--http', `127.0.0.1:${garbagePort}`])
    expectFailure(result, 5, 'PORT_IN_USE', String(garbagePort))
    expectUnbound(state)
  })
  it('for peers that is in use', async () => {
    const state = freshState()
    const listen = ['--listen', `/ip4/127.0.0.1/tcp/${garbagePort}`]
    const result = await onBase(['--data', TEXT, '--state', state, ...listen])
    expectFailure(result, 5, 'PORT_IN_USE', String(garbagePort))
    expectUnbound(state)
  })
  it('for peers that is not of this machine', async () => {
    const args = ['--base', base, '--data', TEXT, '--context', '32', '--listen', '/ip4/192.0.2.1/tcp/0']
    const result = await runCli(['--state', freshState(), ...args])
    expectFailure(result, 5, 'ADDRESS_UNUSABLE', '192.0.2.1', 'EADDRNOTAVAIL')
  })
  it('for HTTP off loopback without a token', async () => {
    // Before anything is loaded.
    const result = await onBase(['--data', TEXT, '--http', '0.0.0.0:0'])
    expectFailure(result, 2, 'OPTION_INVALID', '--http-token')
    expect(result.stdout).toBe('')
  })
})

describe('a state folder', () => {
  const args = (state: string, rounds: number) => [
    ...[
      '--state',
      state,
      '--base',
      base,
      '--data',
      TEXT,
      '--listen',
      '/ip4/127.0.0.1/tcp/0',
      '--context',
      '32',
    ],
    ...['--batch', '2', '--rounds', String(rounds), '--json'],
  ]
  const digest = async (path: string) =>
    createHash('sha256')
      .update(await readFile(path))
      .digest('hex')

  it('that another process uses', async () => {
    const state = freshState()
    const running = new PeerProcess(peerArguments('fr', base, state))
    await running.waitFor('round')
    expectFailure(await runCli(args(state, 1)), 7, 'STATE_LOCKED', String(running.pid))
    await running.kill('SIGKILL')
  })

  it('that has done all rounds, with nobody at the address to come back to', async () => {
    const state = freshState()
    expect((await runCli(args(state, 2))).code).toBe(0)
    const gone = '/ip4/127.0.0.1/tcp/9'
    const { code, stdout } = await runCli([...args(state, 1), '--bootstrap', gone])
    expect(code).toBe(0)
    expect(stdout).toContain('{"event":"start","round":2,"isOver":true}')
    expect(stdout).toMatch(
      new RegExp(`{"event":"alone","message":"the bootstrap peer ${gone} cannot be reached`),
    )
  })

  it('whose newest checkpoint is damaged goes on from the one before', async () => {
    const state = freshState()
    expect((await runCli(args(state, 3))).code).toBe(0)
    const newest = join(state, 'checkpoint.safetensors')
    const bytes = await readFile(newest)
    await writeFile(newest, bytes.subarray(0, bytes.length / 2))
    const { code, stdout, stderr } = await runCli(args(state, 4))
    expect(code).toBe(0)
    expect(stdout).toContain('{"event":"start","round":2,"isOver":false}')
    expect(stderr).toContain('checkpoint not usable')
  })

  it('whose checkpoints are all damaged is left as it is', async () => {
    const state = freshState()
    expect((await runCli(args(state, 2))).code).toBe(0)
    const files = ['checkpoint.safetensors', 'checkpoint.previous.safetensors'].map((name) =>
      join(state, name),
    )
    for (const file of files) {
      const bytes = await readFile(file)
      bytes[bytes.length - 1]! ^= 1
      await writeFile(file, bytes)
    }
    const before = await Promise.all(files.map(digest))
    expectFailure(await runCli(args(state, 3)), 7, 'CHECKPOINT_INVALID', 'checkpoint')
    expect(await Promise.all(files.map(digest))).toEqual(before)
  })

  it('that was made with another number of experts', async () => {
    const state = freshState()
    expect((await runCli(args(state, 1))).code).toBe(0)
    expectFailure(await runCli([...args(state, 2), '--experts', '3']), 2, 'OPTION_INVALID', '--experts', '2')
  })

  it('that a typing error left is bound to no federation; then to the one that it joins', async () => {
    const state = freshState()
    const here = new PeerProcess(peerArguments('fr', base, freshState()))
    const elsewhere = new PeerProcess(peerArguments('de', base, freshState()))
    try {
      const [{ addresses }, other] = await Promise.all([
        here.waitFor('listening'),
        elsewhere.waitFor('listening'),
      ])
      const typo = await runCli([...args(state, 1), '--data', at('nowhere')])
      expectFailure(typo, 3, 'DATA_MISSING')
      expect(typo.stdout).not.toContain('"federation"')
      const joined = await runCli([...args(state, 1), '--bootstrap', addresses[0]!])
      expect(joined.stdout).toContain('"isNew":false')
      expect(joined.code).toBe(0)

      const strayed = await runCli([...args(state, 2), '--bootstrap', other.addresses[0]!])
      expectFailure(strayed, 6, 'STATE_OF_OTHERS', state, '--state')
      const both = await runCli([
        ...args(state, 2),
        ...['--bootstrap', other.addresses[0]!, '--bootstrap', addresses[0]!],
      ])
      expect(both.code).toBe(0)
    } finally {
      await Promise.all([here.kill('SIGKILL'), elsewhere.kill('SIGKILL')])
    }
  })

  it('that cannot be made', async () => {
    await writeFile(at('a-file'), '')
    expectFailure(await runCli(args(join(at('a-file'), 'state'), 1)), 7, 'STATE_UNUSABLE', 'a-file')
  })

  it('from which nothing can be generated yet', async () => {
    await mkdir(at('nothing'), { recursive: true })
    expectFailure(
      await runCli(['generate', '--state', at('nothing')]),
      7,
      'STATE_UNUSABLE',
      'no peer has trained',
      '--data',
    )
  })
})
