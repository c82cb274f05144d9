// What watches the swarm of docker-compose.yml, where its images cannot be had: Debian's `prometheus` in place of Prometheus'
// image, with the same configuration, and nothing in place of Grafana's. What is replaced or left out is said aloud.
import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const PROGRAMS = ['prometheus', 'promtool']
/** Longer than an image takes to come, where there is a registry. */
const PULL_MS = 120_000
/** A service of a profile that nobody names does not come up. */
const ABSENT = { profiles: ['absent'] }

/**
 * Looks for the images of a clone's docker-compose.yml. Needs the image `comigs-peer`, which a stand-in is built on.
 * @returns `found`: services that run; `override`: YAML that takes the others' place, if any; `image`: one that was built here.
 */
export function watchersOf(clone, name) {
  const compose = readFileSync(join(clone, 'docker-compose.yml'), 'utf8')
  const [prometheus, grafana] = ['prom', 'grafana'].map(
    (prefix) => new RegExp(`image: (${prefix}/\\S+)`).exec(compose)[1],
  )
  const has = (image) =>
    spawnSync('docker', ['image', 'inspect', image], { stdio: 'ignore' }).status === 0 ||
    spawnSync('docker', ['pull', '-q', image], { stdio: 'ignore', timeout: PULL_MS }).status === 0
  const found = []
  const replaced = {}
  let image
  if (has(prometheus)) found.push('prometheus')
  else if (PROGRAMS.every((program) => existsSync(`/usr/bin/${program}`))) {
    console.error(`${prometheus} cannot be pulled: Debian's prometheus runs in its place`)
    image = buildPrometheus(name)
    replaced.prometheus = { image }
    found.push('prometheus')
  } else {
    console.error(
      `SKIPPED: Prometheus and the dashboards' queries: ${prometheus} cannot be pulled and Debian's prometheus is not installed`,
    )
    replaced.prometheus = ABSENT
  }
  // It asks Prometheus, and does not come up without.
  if (found.length > 0 && has(grafana)) found.push('grafana')
  else {
    const why = found.length > 0 ? `${grafana} cannot be pulled` : 'it would have nothing to show'
    console.error(`SKIPPED: Grafana's own process: ${why}`)
    replaced.grafana = ABSENT
  }
  // JSON is YAML.
  const override =
    Object.keys(replaced).length > 0 ? JSON.stringify({ services: replaced }, null, 2) : undefined
  return { found, override, image }
}

function buildPrometheus(name) {
  const folder = mkdtempSync(join(tmpdir(), 'comigs-prometheus-'))
  try {
    for (const program of PROGRAMS) copyFileSync(`/usr/bin/${program}`, join(folder, program))
    const lines = [
      'FROM comigs-peer',
      'USER root',
      `COPY ${PROGRAMS.join(' ')} /usr/bin/`,
      'RUN mkdir /prometheus && chown 65534 /prometheus',
      'USER 65534',
      'ENTRYPOINT ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]',
    ]
    writeFileSync(join(folder, 'Dockerfile'), lines.join('\n'))
    const image = `${name}-prometheus`
    execFileSync('docker', ['build', '-q', '-t', image, folder], { stdio: ['ignore', 'ignore', 'inherit'] })
    return image
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
