// `npm run test:compose`: brings docker-compose.yml up for real and looks at what the peers report. Needs a Docker daemon
// with Compose; exits with 77 and one line where there is none. NODE_VERSION chooses the image's Node.
import { execFileSync, spawnSync } from 'node:child_process'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const PEERS = 3
const compose = findCompose()
const project = `comigs-test-${process.pid}`
const env = { ...process.env, COMPOSE_PROJECT_NAME: project, COMIGS_BATCH: '2', COMIGS_SEED_PORT: '0' }

function findCompose() {
  const skip = (why) => {
    console.error(`SKIP test:compose: ${why}`)
    process.exit(77)
  }
  if (spawnSync('docker', ['info'], { stdio: 'ignore', timeout: 20_000 }).status !== 0)
    skip('no Docker daemon answers')
  if (process.env.COMPOSE) return process.env.COMPOSE.split(' ')
  if (spawnSync('docker', ['compose', 'version'], { stdio: 'ignore' }).status === 0)
    return ['docker', 'compose']
  if (spawnSync('docker-compose', ['version'], { stdio: 'ignore' }).status === 0) return ['docker-compose']
  return skip('neither `docker compose` nor docker-compose is installed')
}

const run = (command, args, stdio = ['ignore', 'pipe', 'inherit']) =>
  execFileSync(command, args, { cwd: root, env, stdio, encoding: 'utf8', maxBuffer: 1 << 26 })?.trim()
const up = (...args) => run(compose[0], [...compose.slice(1), ...args], ['ignore', 2, 2])
const docker = (...args) => run('docker', args)

/** Names of the swarm's containers. */
const containers = () =>
  docker('ps', '-a', '--filter', `label=com.docker.compose.project=${project}`, '--format', '{{.Names}}')
    .split('\n')
    .filter(Boolean)
    .sort()

/** Not fetch with AbortSignal.timeout: its timer does not keep the process alive while a half-open port says nothing. */
function get(url) {
  return new Promise((resolve, reject) => {
    const asked = request(url, { timeout: 5000 }, (response) => {
      let text = ''
      response.on('data', (data) => (text += data))
      response.on('end', () =>
        response.statusCode === 200 ? resolve(text) : reject(new Error(String(response.statusCode))),
      )
    })
    asked.on('timeout', () => asked.destroy(new Error('timeout')))
    asked.on('error', reject)
    asked.end()
  })
}

/** A container's metrics by name and labels, or undefined while it does not answer. */
async function metrics(container) {
  try {
    const address = docker('port', container, '9464').split('\n')[0]
    const text = await get(`http://${address}/metrics`)
    return Object.fromEntries(
      text
        .split('\n')
        .filter((line) => line && !line.startsWith('#'))
        .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
    )
  } catch {
    return undefined
  }
}

async function until(what, seconds, check) {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const result = await check()
    if (result) {
      console.error(`ok: ${what}`)
      return result
    }
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`)
    await sleep(2000)
  }
}

const all = async (names, fits) => {
  const values = await Promise.all(names.map(metrics))
  return values.every((value) => value !== undefined && fits(value)) && values
}
const VALID = 'comigs_loss_nats{split="valid"}'
const BASE_VALID = 'comigs_base_loss_nats{split="valid"}'

try {
  up('build')
  up('up', '-d', '--scale', `peer=${PEERS}`)
  const names = await until(
    `${PEERS + 1} containers run`,
    120,
    () => containers().length === PEERS + 1 && containers(),
  )

  await until('everyone mixes with everyone', 300, () => all(names, (m) => m.comigs_mixed_peers === PEERS))
  // By a good deal below the base's own loss, on the mixture of all languages.
  await until('validation loss falls everywhere', 300, () =>
    all(names, (m) => m[VALID] < m[BASE_VALID] - 0.3),
  )
  await until('everyone is healthy', 120, () =>
    names.every((name) => docker('inspect', '-f', '{{.State.Health.Status}}', name) === 'healthy'),
  )
  if (!names.every((name) => docker('exec', name, 'id', '-u') !== '0'))
    throw new Error('a container runs as root')

  const victim = names.find((name) => name.includes('peer'))
  const others = names.filter((name) => name !== victim)
  const before = (await metrics(victim)).comigs_round
  docker('kill', victim)
  await until('the others train on without it', 120, async () => {
    const now = await all(others, () => true)
    await sleep(5000)
    const later = await all(others, () => true)
    return now && later && later.every((m, i) => m.comigs_round > now[i].comigs_round)
  })
  docker('start', victim)
  const resumed = await until('the killed peer returns', 120, async () => {
    const m = await metrics(victim)
    return m?.comigs_round > 0 && m
  })
  if (resumed.comigs_round < before)
    throw new Error(`it resumed at round ${resumed.comigs_round}, it was at ${before}`)
  await until('everyone mixes with everyone again', 180, () =>
    all(names, (m) => m.comigs_mixed_peers === PEERS),
  )
  console.error('passed')
} catch (error) {
  console.error(error.message)
  spawnSync(compose[0], [...compose.slice(1), 'logs', '--tail', '30'], { cwd: root, env, stdio: 'inherit' })
  process.exitCode = 1
} finally {
  up('down', '-v', '--remove-orphans')
  const left =
    containers().length +
    docker('volume', 'ls', '-q', '--filter', `name=${project}`).split('\n').filter(Boolean).length
  if (left > 0) {
    console.error(`${left} containers or volumes were left behind`)
    process.exitCode = 1
  }
}
