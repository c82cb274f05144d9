// Does training ever keep a peer's network waiting? See README.md.
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createLibp2p } from 'libp2p'

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '60' },
    peers: { type: 'string', default: '2' },
    engine: { type: 'string', default: 'auto' },
  },
})
const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'comigs-loop-'))
const languages = ['fr', 'de', 'it', 'nl'].slice(0, Number(flags.peers))

/** A peer with the shipped base, as `npm start` runs them, observed from inside. */
function startPeer(name, bootstrap) {
  const text = (split, ending) => join(root, 'data/multilingual-cc0', `${name}.${split}.txt${ending}`)
  const args = [
    ...['--import', join(root, 'bench/loop/observe.mjs'), join(root, 'packages/node/dist/cli/main.js')],
    ...['--json', '--name', name, '--state', join(folder, name), '--crowded', '--engine', flags.engine],
    ...['--listen', '/ip4/127.0.0.1/tcp/0', ...(bootstrap === undefined ? [] : ['--bootstrap', bootstrap])],
    ...['--train', text('train', '.gz'), '--valid', text('valid', ''), '--test', text('test', '')],
  ]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const waiting = []
  const until = (fits) => new Promise((resolve) => waiting.push({ fits, resolve }))
  const hear = (event) => {
    for (const one of [...waiting].filter(({ fits }) => fits(event))) {
      waiting.splice(waiting.indexOf(one), 1)
      one.resolve(event)
    }
  }
  createInterface({ input: child.stdout }).on('line', (line) => hear(JSON.parse(line)))
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (line.startsWith('observed ')) hear({ event: 'observed', ...JSON.parse(line.slice(9)) })
    else process.stderr.write(`[${name}] ${line}\n`)
  })
  return {
    name,
    listening: until(({ event }) => event === 'listening'),
    trains: until(({ event, round }) => event === 'round' && round >= 2),
    observe() {
      const report = until(({ event }) => event === 'observed')
      child.kill('SIGUSR2')
      return report
    },
    stop: () => child.kill('SIGKILL'),
  }
}

function spread(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share) =>
    Number((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN).toFixed(1))
  return { p50: at(0.5), p99: at(0.99), max: at(1), n: sorted.length }
}

const peers = []
try {
  for (const name of languages) {
    const bootstrap = peers.length === 0 ? undefined : (await peers[0].listening).addresses[0]
    peers.push(startPeer(name, bootstrap))
  }
  await Promise.all(peers.map(({ trains }) => trains))
  await Promise.all(peers.map((peer) => peer.observe())) // what came before is the start, not the training
  const observer = await createLibp2p({
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { ping: ping({ maxOutboundStreams: 8 }) }, // the last one may still be closing
  })
  const target = await peers[0].listening
  const pings = []
  const deadline = performance.now() + Number(flags.seconds) * 1000
  while (performance.now() < deadline) {
    pings.push(await observer.services.ping.ping(multiaddr(target.addresses[0])))
    await sleep(200)
  }
  const metrics = await (await fetch(`${target.http}/metrics`)).text()
  const exported = Number(/^comigs_event_loop_lag_seconds (\S+)$/m.exec(metrics)[1])
  const results = []
  for (const peer of peers) {
    const { lateMs, busyMs, beatsMs } = await peer.observe()
    const intervals = beatsMs.slice(1).map((at, i) => at - beatsMs[i])
    results.push({
      peer: peer.name,
      'timer late, ms': spread(lateMs),
      'computing in one turn, ms': spread(busyMs),
      'heartbeat off by, ms': spread(intervals.map((ms) => Math.abs(ms - 1000))),
      heartbeats: beatsMs.length,
    })
  }
  await observer.stop()
  const report = {
    seconds: Number(flags.seconds),
    engine: flags.engine,
    load: loadavg()[0],
    'ping, ms': spread(pings),
    'comigs_event_loop_lag_seconds, ms': Number((exported * 1000).toFixed(1)),
    peers: results,
  }
  console.log(flags.json ? JSON.stringify(report) : JSON.stringify(report, null, 2))
} finally {
  for (const peer of peers) peer.stop()
  rmSync(folder, { recursive: true, force: true })
}
