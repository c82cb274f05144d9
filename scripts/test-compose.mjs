// `npm run test:compose`: brings docker-compose.yml up for real and looks at what the peers and Prometheus report. Needs a
// Docker daemon with Compose; exits with 77 and one line where there is none. NODE_VERSION chooses the image's Node.
// Where images of what watches cannot be pulled, see watchers.mjs; what is skipped is said aloud.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { watchersOf } from './watchers.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const PEERS = 4
const project = `comigs-test-${process.pid}`
const env = {
  ...process.env,
  COMPOSE_PROJECT_NAME: project,
  COMIGS_BATCH: '2',
  COMIGS_SEED_PORT: '0',
  COMIGS_PROMETHEUS_PORT: '0',
  COMIGS_GRAFANA_PORT: '0',
}
const compose = findCompose()
const folder = mkdtempSync(join(tmpdir(), 'comigs-compose-'))

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

/** Names of the swarm's containers, or of one service's. */
const containers = (...filters) =>
  docker(
    ...['ps', '-a', '--format', '{{.Names}}'],
    ...[`project=${project}`, ...filters].flatMap((label) => [
      '--filter',
      `label=com.docker.compose.${label}`,
    ]),
  )
    .split('\n')
    .filter(Boolean)
    .sort()
const service = (name) => containers(`service=${name}`)

/** Not fetch with AbortSignal.timeout: its timer does not keep the process alive while a half-open port says nothing. */
function get(url) {
  return new Promise((resolve, reject) => {
    const asked = request(url, { timeout: 5000 }, (response) => {
      let text = ''
      response.on('data', (data) => (text += data))
      response.on('end', () =>
        response.statusCode === 200
          ? resolve(text)
          : reject(new Error(`${url}: ${response.statusCode} ${text}`)),
      )
    })
    asked.on('timeout', () => asked.destroy(new Error('timeout')))
    asked.on('error', reject)
    asked.end()
  })
}

const address = (container, port) => `http://${docker('port', container, String(port)).split('\n')[0]}`

/** A container's metrics by name and labels, or undefined while it does not answer. */
async function metrics(container) {
  try {
    return parseMetrics(await get(`${address(container, 9464)}/metrics`))
  } catch {
    return undefined
  }
}

const parseMetrics = (text) =>
  Object.fromEntries(
    text
      .split('\n')
      .filter((line) => line && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )

async function until(what, seconds, check) {
  const started = Date.now()
  for (;;) {
    const result = await check()
    const passed = Math.round((Date.now() - started) / 1000)
    if (result) {
      console.error(`ok: ${what} (${passed} s)`)
      return result
    }
    if (passed > seconds) throw new Error(`not within ${seconds} s: ${what}`)
    await sleep(2000)
  }
}

/** Until each container has once been seen to fit. */
function untilEach(what, seconds, names, fits) {
  const missing = new Set(names)
  return until(what, seconds, async () => {
    for (const name of [...missing]) {
      const seen = await metrics(name)
      if (seen !== undefined && fits(seen)) missing.delete(name)
    }
    return missing.size === 0
  })
}

/** In the peer's own rounds. Whoever is away is mixed with for a while yet, by its last copy: that must not pass for well. */
const OLDEST = 'comigs_copy_age_rounds{quantile="1"}'

const untilAllMix = (what, names) =>
  untilEach(what, 300, names, (m) => m.comigs_mixed_peers === names.length - 1 && m[OLDEST] <= 2)

const roundsOf = async (names) => (await Promise.all(names.map(metrics))).map((m) => m?.comigs_round ?? NaN)

async function untilTheyTrainOn(what, names) {
  const before = await roundsOf(names)
  await until(what, 120, async () => (await roundsOf(names)).every((round, i) => round > before[i] + 1))
}

const dashboards = () =>
  readdirSync(join(root, 'docker/grafana/dashboards')).map((file) =>
    JSON.parse(readFileSync(join(root, 'docker/grafana/dashboards', file), 'utf8')),
  )

/** Asks Prometheus what every panel would, and for the type of every metric that they name. */
async function checkPanels(url) {
  const query = async (text) =>
    JSON.parse(await get(`${url}/api/v1/query?query=${encodeURIComponent(text)}`)).data.result
  const known = JSON.parse(await get(`${url}/api/v1/metadata`)).data
  const [peer] = await query('comigs_info')
  let asked = 0
  for (const { title: board, panels, templating } of dashboards()) {
    for (const { name, query: variable, regex } of templating.list) {
      const text = `comigs_info{${Object.entries(peer.metric).map(([key, value]) => `${key}="${value}"`)}}`
      const { groups } = new RegExp(regex.slice(1, -1)).exec(text) ?? {}
      if (variable.query !== 'query_result(comigs_info)' || groups?.value !== peer.metric.instance)
        throw new Error(`${board}: the variable ${name} does not find ${text}`)
    }
    for (const { title, targets } of panels) {
      for (const { expr } of targets) {
        for (const [name] of expr.matchAll(/comigs_\w+/g))
          if (known[name.replace(/_(sum|count|bucket)$/, '')] === undefined)
            throw new Error(`${board}, ${title}: there is no metric ${name}`)
        const result = await query(
          expr.replaceAll('$__rate_interval', '1m').replaceAll('$peer', peer.metric.instance),
        )
        if (!result.some(({ value }) => Number.isFinite(Number(value[1]))))
          throw new Error(`${board}, ${title}: no data for ${expr}`)
        asked++
      }
    }
  }
  console.error(`ok: all ${asked} queries of ${dashboards().length} dashboards return data`)
}

const VALID = 'comigs_loss_nats{split="valid"}'
const BASE_VALID = 'comigs_base_loss_nats{split="valid"}'
let made

try {
  up('build', 'seed')
  const watching = watchersOf(root, project)
  made = watching.image
  if (watching.override !== undefined) {
    const file = join(folder, 'override.yml')
    writeFileSync(file, watching.override)
    compose.push('-f', 'docker-compose.yml', '-f', file)
  }
  up('up', '-d', '--scale', `peer=${PEERS}`, 'seed', 'peer', ...watching.found)
  const names = await until(`${PEERS + 1} peers run`, 120, () => {
    const found = [...service('seed'), ...service('peer')]
    return found.length === PEERS + 1 && found
  })
  await untilAllMix('everyone mixes with everyone', names)
  // By a good deal below the base's own loss, on the mixture of all languages.
  await untilEach('validation loss falls everywhere', 300, names, (m) => m[VALID] < m[BASE_VALID] - 0.3)
  const running = [...names, ...watching.found.flatMap(service)]
  await until('everything is healthy', 180, () =>
    running.every((name) => docker('inspect', '-f', '{{.State.Health.Status}}', name) === 'healthy'),
  )
  if (!running.every((name) => docker('exec', name, 'id', '-u') !== '0'))
    throw new Error('a container runs as root')

  const prometheus = watching.found.includes('prometheus')
    ? address(service('prometheus')[0], 9090)
    : undefined
  const untilScraped = async (count) => {
    if (prometheus === undefined) return
    await until(`Prometheus scrapes ${count} peers`, 120, async () => {
      const { data } = JSON.parse(await get(`${prometheus}/api/v1/query?query=sum(up{job="comigs"})`))
      return data.result[0]?.value[1] === String(count)
    })
  }
  await untilScraped(PEERS + 1)
  if (watching.found.includes('grafana')) {
    const grafana = address(service('grafana')[0], 3000)
    for (const { uid, title } of dashboards()) {
      await get(`${grafana}/api/dashboards/uid/${uid}`)
      console.error(`ok: Grafana shows "${title}"`)
    }
  }

  const [killed, paused, parted] = service('peer')
  const without = (name) => names.filter((other) => other !== name)

  const before = (await metrics(killed)).comigs_round
  docker('kill', killed)
  await untilTheyTrainOn('the others train on without the killed peer', without(killed))
  docker('start', killed)
  const resumed = await until('the killed peer returns', 180, async () => {
    const m = await metrics(killed)
    return m?.comigs_round > 0 && m
  })
  if (resumed.comigs_round < before)
    throw new Error(`it resumed at round ${resumed.comigs_round}, it was at ${before}`)
  await untilAllMix('everyone mixes with everyone again', names)

  // runc gives up after milliseconds on what is too busy to freeze.
  await until('a peer is paused', 60, () => spawnSync('docker', ['pause', paused]).status === 0)
  await untilTheyTrainOn('the others train on without the paused peer', without(paused))
  await untilScraped(PEERS)
  docker('unpause', paused)
  await untilAllMix('everyone mixes with everyone after the pause', names)
  await untilScraped(PEERS + 1)

  const network = `${project}_default`
  docker('network', 'disconnect', network, parted)
  await untilTheyTrainOn('the others train on without the parted peer', without(parted))
  const alone = () =>
    parseMetrics(
      docker(
        ...['exec', parted, 'node', '-e'],
        "fetch('http://127.0.0.1:9464/metrics').then((r) => r.text()).then(console.log)",
      ),
    )
  await until('the parted peer trains on alone', 180, () => alone()[OLDEST] >= 4)
  docker('network', 'connect', '--alias', 'peer', network, parted)
  await untilAllMix('everyone mixes with everyone after the partition', names)

  if (prometheus !== undefined) await checkPanels(prometheus)
  console.error('passed')
} catch (error) {
  console.error(error.message)
  spawnSync(compose[0], [...compose.slice(1), 'ps'], { cwd: root, env, stdio: ['ignore', 2, 2] })
  spawnSync(compose[0], [...compose.slice(1), 'logs', '--tail', '30'], {
    cwd: root,
    env,
    stdio: ['ignore', 2, 2],
  })
  process.exitCode = 1
} finally {
  up('down', '-v', '--remove-orphans')
  if (made !== undefined) docker('rmi', '-f', made)
  rmSync(folder, { recursive: true, force: true })
  const left = ['volume', 'network']
    .map((kind) => docker(kind, 'ls', '-q', '--filter', `name=${project}`).split('\n').filter(Boolean).length)
    .reduce((sum, count) => sum + count, containers().length)
  if (left > 0) {
    console.error(`${left} containers, volumes or networks were left behind`)
    process.exitCode = 1
  }
}
