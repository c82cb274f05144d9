// Starts the peer of this container. All configuration is in the environment (COMIGS_PEER_*). In any of these, and in
// COMIGS_SHARE, %n stands for the container's number in its service: `docker compose up --scale peer=3` makes peers 1 to 3.
// What is left out:
// - text: that of a user of the data set in /data, the one whose number COMIGS_SHARE is.
// - an HTTP token, needed off loopback: a random one, which is printed.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync, rmSync } from 'node:fs'
import { resolvePtr } from 'node:dns/promises'
import { hostname, networkInterfaces } from 'node:os'

const DATA = '/data'
const env = { COMIGS_PEER_STATE: '/state', COMIGS_SHARE: '0', ...process.env }
if (!env.COMIGS_PEER_HTTP_TOKEN) {
  env.COMIGS_PEER_HTTP_TOKEN = randomBytes(16).toString('hex')
  console.error(
    `HTTP token of this start: ${env.COMIGS_PEER_HTTP_TOKEN} (COMIGS_PEER_HTTP_TOKEN gives one that stays)`,
  )
}

const numbered = Object.keys(env).filter((name) => name.startsWith('COMIGS_') && env[name].includes('%n'))
if (numbered.length > 0) {
  const number = await containerNumber()
  if (number === undefined) {
    console.error(`error: this container has no number to put for %n in ${numbered.join(', ')}`)
    process.exit(2)
  }
  for (const name of numbered) env[name] = env[name].replaceAll('%n', number)
}

if (env.COMIGS_PEER_DATA === undefined && env.COMIGS_PEER_TRAIN === undefined) {
  const files = readdirSync(DATA)
  const users = [
    ...new Set(files.map((file) => /^(.+)\.train\.txt(\.gz)?$/.exec(file)?.[1]).filter(Boolean)),
  ].sort()
  const user = users[Number(env.COMIGS_SHARE) % users.length]
  const of = (split, who) =>
    who.map((name) => `${DATA}/${files.find((file) => file.startsWith(`${name}.${split}.txt`))}`)
  env.COMIGS_PEER_NAME ??= user
  env.COMIGS_PEER_TRAIN = of('train', [user]).join(' ')
  // Everyone wants a model that reads all of it.
  env.COMIGS_PEER_VALID = of('valid', users).join(' ')
  env.COMIGS_PEER_TEST = of('test', users).join(' ')
}

// A container that was killed leaves its lock behind, and its process number is soon another's. Nobody else has this folder.
rmSync(`${env.COMIGS_PEER_STATE}/pid`, { force: true })

/** Kubernetes numbers the names of a StatefulSet's pods; Docker's DNS knows an address under a name that ends with it. */
async function containerNumber() {
  const addresses = Object.values(networkInterfaces())
    .flat()
    .filter(({ internal, family }) => !internal && family === 'IPv4')
  // Not `reverse`, which finds nothing at Docker's DNS (Node 20.20).
  const zones = addresses.map(({ address }) => `${address.split('.').reverse().join('.')}.in-addr.arpa`)
  const known = await Promise.all(zones.map((zone) => resolvePtr(zone).catch(() => [])))
  const numbers = [hostname(), ...known.flat()].map((name) => /[-_](\d+)(\.|$)/.exec(name)?.[1])
  return numbers.find((number) => number !== undefined)
}

const peer = spawn(process.execPath, ['/app/packages/node/dist/cli/main.js', ...process.argv.slice(2)], {
  env,
  stdio: 'inherit',
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => peer.kill(signal))
peer.on('exit', (code, signal) => process.exit(signal === null ? code : 1))
