import { Command } from 'commander'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { applyConfigFile } from '../src/cli/config-file.ts'
import { applyEnvironment, misspeltVariables } from '../src/cli/environment.ts'
import { option, shared, wholeNumber } from '../src/cli/options.ts'
import { addPeerOptions } from '../src/cli/peer-command.ts'
import { createProgram } from '../src/cli/program.ts'
import { textOptions } from '../src/cli/text-options.ts'
import { NodeError } from '../src/errors.ts'

/** What two commands make of a file, flags and the variable COMIGS_PEER_BATCH. */
async function configured(yaml: string, args: readonly string[] = [], batch?: string) {
  const folder = await mkdtemp(join(tmpdir(), 'comigs-config-'))
  const before = process.env['COMIGS_PEER_BATCH']
  onTestFinished(async () => {
    await rm(folder, { recursive: true })
    delete process.env['COMIGS_PEER_BATCH']
    if (before !== undefined) process.env['COMIGS_PEER_BATCH'] = before
  })
  if (batch !== undefined) process.env['COMIGS_PEER_BATCH'] = batch
  const file = join(folder, 'comigs.yaml')
  await writeFile(file, yaml)
  const other = new Command('other').addOption(shared.config()).addOption(option('--max-tokens <n>', ''))
  const deaf = new Command('deaf').addOption(option('--width <n>', ''))
  const command = new Command('peer')
    .addOption(shared.config())
    .addOption(shared.batch())
    .addOption(shared.engine())
    .addOption(option('--wait-for-peers <n>', '').argParser(wholeNumber(0)).default(0))
    .addOption(option('--data <path...>', ''))
    .addOption(option('--stay', '').default(false))
  command.parse(['--config', file, ...args], { from: 'user' })
  await applyConfigFile(command, [command, other, deaf])
  return { ...command.opts<Record<string, unknown>>(), source: command.getOptionValueSource('batch') }
}

it('a flag goes before the environment, that before the file, that before the default', async () => {
  expect(await configured('')).toMatchObject({ batch: 8, source: 'default' })
  expect(await configured('batch: 4')).toMatchObject({ batch: 4, source: 'config' })
  expect(await configured('batch: 4', [], '5')).toMatchObject({ batch: 5, source: 'env' })
  expect(await configured('batch: 4', ['--batch', '6'], '5')).toMatchObject({ batch: 6, source: 'cli' })
})

it('values mean what they mean as flags', async () => {
  expect(await configured('wait-for-peers: 2\nstay: true\nengine: cpu\ndata: [a, b]')).toMatchObject({
    waitForPeers: 2,
    stay: true,
    engine: 'cpu',
    data: ['a', 'b'],
  })
  expect(await configured('data: a')).toMatchObject({ data: ['a'] })
})

it('a path may hold spaces, but in the environment, where they separate', async () => {
  expect(await configured('data: [my notes, b]')).toMatchObject({ data: ['my notes', 'b'] })
  expect(await configured('', ['--data', 'my notes', 'b'])).toMatchObject({ data: ['my notes', 'b'] })
  vi.stubEnv('COMIGS_PEER_DATA', ' a  b ')
  vi.stubEnv('COMIGS_PEER_STOP', 'a b')
  onTestFinished(() => void vi.unstubAllEnvs())
  const command = new Command().addOption(option('--data <path...>', ''))
  for (const one of textOptions()) command.addOption(one)
  command.parse([], { from: 'user' })
  applyEnvironment(command)
  expect(command.opts()).toMatchObject({ data: ['a', 'b'], stop: ['a b'] })
})

it('a path may begin in the home folder, where no shell expands it; what is no path may not', async () => {
  const home = (...names: readonly string[]) => join(homedir(), ...names)
  expect(await configured('data: [~/notes, a/~/b]')).toMatchObject({
    data: [home('notes'), 'a/~/b'],
  })
  for (const [name, value] of Object.entries({ DATA: '~/a b', STATE: '~/c', ALLOW: '~/d', NAME: '~/e' }))
    vi.stubEnv(`COMIGS_PEER_${name}`, value)
  onTestFinished(() => void vi.unstubAllEnvs())
  const command = new Command()
  addPeerOptions(command)
  applyEnvironment(command.parse([], { from: 'user' }))
  expect(command.opts()).toMatchObject({
    data: [home('a'), 'b'],
    state: home('c'),
    allow: [home('d')],
    name: '~/e',
  })
})

it.each([
  ['true', true],
  ['1', true],
  ['yes', true],
  ['false', false],
  ['0', false],
  ['No', false],
])('a switch in the environment means what it says: %s', (value, expected) => {
  const command = switched(value)
  applyEnvironment(command)
  expect(command.opts()).toEqual({ stay: expected })
  expect(command.getOptionValueSource('stay')).toBe('env')
})

it.each(['maybe', '', '2'])('refuses "%s" of a switch in the environment', (value) => {
  const refused = () => {
    applyEnvironment(switched(value))
  }
  expect(refused).toThrow(NodeError)
  expect(refused).toThrow(`COMIGS_PEER_STAY "${value}" is neither true nor false`)
})

function switched(value: string): Command {
  vi.stubEnv('COMIGS_PEER_STAY', value)
  onTestFinished(() => void vi.unstubAllEnvs())
  return new Command().addOption(option('--stay', '').default(false)).parse([], { from: 'user' })
}

it('of a variable that is nearly ours, says which was meant', () => {
  for (const name of ['COMIGS_PEER_BACTH', 'COMIGS_PEER_BATCH', 'COMIGS_PEER_PORT_4001_TCP', 'BACTH'])
    vi.stubEnv(name, '4')
  onTestFinished(() => void vi.unstubAllEnvs())
  const command = new Command().addOption(shared.batch())
  expect(misspeltVariables([command])).toEqual([['COMIGS_PEER_BACTH', 'COMIGS_PEER_BATCH']])
})

it('keys of other commands are left to them', async () => {
  expect(await configured('max-tokens: 7')).not.toHaveProperty('maxTokens')
})

it('what a command cannot do without may stand in a file, too', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'comigs-config-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const file = join(folder, 'comigs.yaml')
  await writeFile(file, 'data-set: nowhere-at-all')
  const swarm = (...args: readonly string[]) =>
    createProgram().parseAsync(['swarm', ...args], { from: 'user' })
  await expect(swarm()).rejects.toThrow('--data-set is needed')
  await expect(swarm('--config', file)).rejects.toThrow('--data-set "nowhere-at-all" cannot be read')
})

it.each([
  ['bach: 4', '"bach" is not known; did you mean "batch"?'],
  ['something-else: 4', '"something-else" is not known;'],
  ['width: 4', '"width" is not known'],
  ['batch: many', '"batch": expected a whole number from 1'],
  ['engine: steam', '"engine": Allowed choices are'],
  ['stay: 1', '"stay": expected true or false'],
  ['batch: [1, 2]', '"batch": expected text or a number'],
  ['data: {a: 1}', '"data": expected text or a list of texts'],
  ['config: x', '"config" is not known'],
  ['- batch', 'must be a mapping'],
  ['data: [', 'is not YAML'],
])('refuses %s', async (yaml, message) => {
  const refused = configured(yaml)
  await expect(refused).rejects.toThrow(NodeError)
  await expect(refused).rejects.toThrow(message)
  await expect(refused).rejects.toMatchObject({ detail: { code: 'CONFIG_FILE_INVALID' } })
})
