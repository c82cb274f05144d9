/* eslint-disable no-console -- a command line */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { peerArguments, PeerProcess } from '../support/peer-process.ts'
import { writeTinyBase } from '../support/tiny-base.ts'

// Run by scripts/test-upnp.mjs, which has made the namespaces: a folder, and theirs names.
const [folder, home, router, outside] = process.argv.slice(2) as [string, string, string, string]
const inside = (namespace: string) => ['ip', 'netns', 'exec', namespace] as const

const base = await writeTinyBase(join(folder, 'base'))
let states = 0

function startPeer(namespace: string, language: string, extra: readonly string[]): PeerProcess {
  const state = join(folder, `state-${states++}`)
  return new PeerProcess(peerArguments(language, base, state, extra), {
    listen: '/ip4/0.0.0.0/tcp/0',
    within: inside(namespace),
  })
}

async function startRouter(version: 1 | 2): Promise<ChildProcess> {
  const path = join(folder, `miniupnpd-${version}.conf`)
  const lines = [
    'ext_ifname=wan',
    'listening_ip=lan',
    'http_port=0',
    'enable_upnp=yes',
    'secure_mode=yes',
    'uuid=11111111-2222-3333-4444-555555555555',
    `force_igd_desc_v1=${version === 1 ? 'yes' : 'no'}`,
    'allow 1024-65535 192.168.77.0/24 1024-65535',
    'deny 0-65535 0.0.0.0/0 0-65535',
  ]
  await writeFile(path, `${lines.join('\n')}\n`)
  nft(`flush ruleset\n${TABLE}`)
  const [program, ...args] = [...inside(router), 'miniupnpd', '-d', '-f', path, '-P', join(folder, 'pid')]
  const child = spawn(program, args, { stdio: 'ignore' })
  while (
    !execFileSync('ip', ['netns', 'exec', router, 'ss', '-Huln'], { encoding: 'utf8' }).includes(':1900')
  )
    await sleep(100)
  return child
}

async function stopRouter(child: ChildProcess): Promise<void> {
  child.kill('SIGTERM')
  await once(child, 'exit')
}

const TABLE = `table inet filter {
  chain miniupnpd {}
  chain prerouting_miniupnpd {}
  chain postrouting_miniupnpd {}
  chain forward { type filter hook forward priority 0; policy drop; ct state established,related accept; iifname lan accept; jump miniupnpd; }
  chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
  chain postrouting { type nat hook postrouting priority 100; policy accept; oifname wan masquerade; }
}`

function nft(commands: string): string {
  const [program, ...before] = inside(router)
  return execFileSync(program, [...before, 'nft', '-f', '-'], { encoding: 'utf8', input: commands })
}

/** The ports that the router forwards, by its own kernel's word. */
const forwarded = () =>
  nft('list chain inet filter prerouting_miniupnpd\n')
    .split('\n')
    .filter((line) => line.includes('dport'))

function check(what: string, holds: boolean, found: unknown): void {
  if (!holds) throw new Error(`not so: ${what}; found ${JSON.stringify(found)}`)
  console.error(`ok: ${what}`)
}

for (const version of [2, 1] as const) {
  const miniupnpd = await startRouter(version)
  const hidden = startPeer(home, 'de', ['--upnp'])
  const { found } = await hidden.waitFor('upnp')
  const address = found.split(' ').at(-1)!
  check(`a router of version ${version} forwards a port`, address.startsWith('/ip4/5.6.7.1/tcp/'), found)
  check('to the peer', forwarded().length === 1 && forwarded()[0]!.includes('192.168.77.2'), forwarded())
  const visitor = startPeer(outside, 'fr', ['--bootstrap', address])
  const { peerId } = await visitor.waitFor('listening')
  await hidden.waitFor(
    'round',
    ({ mixedWith, neighbours }) => mixedWith === 1 && neighbours[0]?.peer === peerId,
  )
  check('a peer outside joins through it, and is mixed with', true, peerId)
  await Promise.all([hidden, visitor].map((peer) => peer.kill('SIGTERM')))
  check('a peer that stops has nothing forwarded any more', forwarded().length === 0, forwarded())
  await stopRouter(miniupnpd)
}

execFileSync('ip', ['-n', router, 'address', 'flush', 'dev', 'wan'])
execFileSync('ip', ['-n', router, 'address', 'add', '100.64.0.1/24', 'dev', 'wan'])
const miniupnpd = await startRouter(2)
const hidden = startPeer(home, 'it', ['--upnp'])
const twice = await hidden.waitFor('upnp')
check('a router behind a router is named', twice.found.includes('behind another router'), twice)
await hidden.kill('SIGTERM')
await stopRouter(miniupnpd)

const alone = startPeer(home, 'nl', ['--upnp'])
const nobody = await alone.waitFor('upnp')
check('without a router that is said', nobody.found === 'no router answers', nobody)
check(
  'a peer that finds no way in trains all the same',
  (await alone.waitFor('round')).round === 1,
  alone.events,
)
await alone.kill('SIGTERM')
console.error('passed')
