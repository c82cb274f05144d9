// Starts the peer of this container. All configuration is in the environment (COMIGS_PEER_*); what is left out:
// - COMIGS_SHARE: which user of the data set in /data this peer is. "auto" takes the container's number in its service
//   (peer-1, peer-2, ...), so that `docker compose up --scale peer=3` gives everyone a text of their own.
// - an HTTP token, needed off loopback: a random one.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { reverse } from 'node:dns/promises'
import { networkInterfaces } from 'node:os'

const DATA = '/data'
const env = { ...process.env }
env.COMIGS_PEER_STATE ??= '/state'
env.COMIGS_PEER_HTTP_TOKEN ||= randomBytes(16).toString('hex')

if (env.COMIGS_PEER_DATA === undefined && env.COMIGS_PEER_TRAIN === undefined) {
  const files = readdirSync(DATA)
  const users = [
    ...new Set(files.map((file) => /^(.+)\.train\.txt(\.gz)?$/.exec(file)?.[1]).filter(Boolean)),
  ].sort()
  const share = env.COMIGS_SHARE === 'auto' ? await containerNumber() : Number(env.COMIGS_SHARE ?? 0)
  const user = users[share % users.length]
  const of = (split, who) =>
    who.map((name) => `${DATA}/${files.find((file) => file.startsWith(`${name}.${split}.txt`))}`)
  env.COMIGS_PEER_NAME ??= user
  env.COMIGS_PEER_TRAIN = of('train', [user]).join(' ')
  // Everyone wants a model that reads all of it.
  env.COMIGS_PEER_VALID = of('valid', users).join(' ')
  env.COMIGS_PEER_TEST = of('test', users).join(' ')
}

/** Docker's own DNS knows a container's address under its name, which ends with its number. */
async function containerNumber() {
  for (const { address, internal, family } of Object.values(networkInterfaces()).flat()) {
    if (internal || family !== 'IPv4') continue
    const names = await reverse(address).catch(() => [])
    for (const name of names) {
      const number = /[-_](\d+)(\.|$)/.exec(name)?.[1]
      if (number !== undefined) return Number(number)
    }
  }
  return 0
}

const peer = spawn(process.execPath, ['/app/packages/node/dist/cli/main.js', ...process.argv.slice(2)], {
  env,
  stdio: 'inherit',
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => peer.kill(signal))
peer.on('exit', (code, signal) => process.exit(signal === null ? code : 1))
