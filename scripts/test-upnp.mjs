// `npm run test:upnp`: a peer behind a real router (Debian's miniupnpd on nftables), in network namespaces of this machine,
// and a peer outside that joins through the port that the router was asked for. Needs root, ip, nft and miniupnpd; exits with
// 77 and one line where one of them is missing. Everything is made in namespaces, which are gone afterwards.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'

const skip = (why) => {
  console.error(`SKIP test:upnp: ${why}`)
  process.exit(77)
}
if (process.getuid?.() !== 0) skip('only root may make network namespaces')
for (const [program, flag] of [
  ['ip', '-V'],
  ['nft', '-v'],
  ['miniupnpd', '--version'],
])
  if (spawnSync(program, [flag], { stdio: 'ignore' }).error !== undefined) skip(`no ${program}`)

const names = Object.fromEntries(
  ['home', 'router', 'outside'].map((name) => [name, `comigs-${process.pid}-${name}`]),
)
const ip = (...args) => execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' })
const folder = mkdtempSync(join(tmpdir(), 'comigs-upnp-'))

/** Two veth pairs: home (192.168.77.2) - router - outside (5.6.7.2); miniupnpd refuses to forward from reserved addresses. */
function makeNetwork() {
  for (const name of Object.values(names)) {
    ip('netns', 'add', name)
    ip('-n', name, 'link', 'set', 'lo', 'up')
  }
  const cable = (name, device, address, at) => {
    ip('link', 'add', device, 'netns', names[name], 'type', 'veth', 'peer', 'name', at, 'netns', names.router)
    ip('-n', names[name], 'address', 'add', `${address}2/24`, 'dev', device)
    ip('-n', names.router, 'address', 'add', `${address}1/24`, 'dev', at)
    ip('-n', names[name], 'link', 'set', device, 'up')
    ip('-n', names.router, 'link', 'set', at, 'up')
  }
  cable('home', 'eth0', '192.168.77.', 'lan')
  cable('outside', 'eth0', '5.6.7.', 'wan')
  ip('-n', names.home, 'route', 'add', 'default', 'via', '192.168.77.1')
  ip('netns', 'exec', names.router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1')
}

prepare()
try {
  makeNetwork()
  const node = ['--conditions=@comigs/source', '--import', './scripts/typescript.mjs']
  const { status } = spawnSync(
    process.execPath,
    [...node, 'test/upnp/main.ts', folder, ...Object.values(names)],
    {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      stdio: 'inherit',
    },
  )
  process.exitCode = status ?? 1
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  for (const name of Object.values(names)) {
    const pids = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' })
      .stdout.split('\n')
      .filter(Boolean)
    for (const pid of pids) process.kill(Number(pid), 'SIGKILL')
    spawnSync('ip', ['netns', 'delete', name], { stdio: 'ignore' })
  }
  rmSync(folder, { recursive: true, force: true })
  if (ip('netns', 'list').includes(`comigs-${process.pid}-`)) {
    console.error('a network namespace was left behind')
    process.exitCode = 1
  }
}
