import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { createMetrics } from '../../packages/node/src/metrics.ts'
import { REPOSITORY } from '../support/tiny-base.ts'

/** Files that name things of each other and of the code, and that no compiler looks at. */
const read = (path) => readFileSync(join(REPOSITORY, path), 'utf8')
const compose = parse(read('docker-compose.yml'), { merge: true })
const manifests = parseAllDocuments(read('docker/kubernetes/comigs.yaml')).map((one) => one.toJS())
const prometheus = parse(read('docker/prometheus/prometheus.yml'))
const [datasource] = parse(read('docker/grafana/provisioning/datasources/prometheus.yml')).datasources
const [provider] = parse(read('docker/grafana/provisioning/dashboards/comigs.yml')).providers
const dashboards = readdirSync(join(REPOSITORY, 'docker/grafana/dashboards')).map((file) => ({
  file,
  ...JSON.parse(read(`docker/grafana/dashboards/${file}`)),
}))
const peers = ['seed', 'peer', 'gpu']

describe('what is deployed', () => {
  it('is configured by variables that a peer reads', () => {
    const help = read('packages/node/src/cli/peer-command.ts') + read('packages/node/src/cli/options.ts')
    const variables = [
      ...peers.flatMap((name) => Object.keys(compose.services[name].environment)),
      ...manifests.flatMap(({ kind, data, spec }) =>
        kind === 'ConfigMap'
          ? Object.keys(data)
          : (spec.template?.spec.containers[0].env ?? []).map(({ name }) => name),
      ),
    ]
    const options = variables
      .filter((name) => name.startsWith('COMIGS_PEER_'))
      .map((name) => `--${name.slice('COMIGS_PEER_'.length).toLowerCase().replaceAll('_', '-')}`)
    expect(new Set(options).size).toBeGreaterThan(6)
    expect(options.filter((flag) => !help.includes(`'${flag} `))).toEqual([])
    expect(variables.filter((name) => !/^COMIGS_(PEER_\w+|SHARE)$/.test(name))).toEqual([])
  })

  it('is pinned, and publishes on loopback only', () => {
    const services = Object.values(compose.services)
    for (const { image, ports } of services) {
      expect(image).toMatch(/^comigs-peer(-gpu)?$|:v?\d+\.\d+\.\d+$/)
      for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/)
    }
    expect(services).toHaveLength(5)
  })

  it('Prometheus looks for every service that is a peer, at the port that peers serve', () => {
    const [{ names, port }] = prometheus.scrape_configs[0].dns_sd_configs
    expect(names).toEqual(peers)
    for (const name of names)
      expect(compose.services[name].environment.COMIGS_PEER_HTTP).toBe(`0.0.0.0:${port}`)
  })

  it('Grafana finds Prometheus and the dashboards where compose puts them', () => {
    expect(datasource.url).toBe('http://prometheus:9090')
    const { volumes, environment } = compose.services.grafana
    expect(volumes).toContain(`./docker/grafana/dashboards:${provider.options.path}:ro`)
    const home = environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH
    expect(dashboards.map(({ file }) => `${provider.options.path}/${file}`)).toContain(home)
  })

  it('dashboards ask the provisioned Prometheus for metrics that there are', () => {
    const known = createMetrics()
      .registry.getMetricsAsArray()
      .map(({ name }) => name)
    const queries = dashboards.flatMap(({ panels }) => panels.flatMap(({ targets }) => targets))
    expect(queries.length).toBeGreaterThan(30)
    for (const { expr, datasource: asked } of queries) {
      expect(asked.uid).toBe(datasource.uid)
      const names = [...expr.matchAll(/comigs_\w+/g)].map(([name]) =>
        name.replace(/_(sum|count|bucket)$/, ''),
      )
      expect(names.filter((name) => !known.includes(name))).toEqual([])
    }
  })

  it('every panel has a title, a unit and a word of explanation, and the tutorial says what is well', () => {
    const sections = read('docs/tutorials/reading-the-dashboards.md').split(/^### /m)
    for (const { title: dashboard, panels } of dashboards) {
      const told = sections.find((section) => section.startsWith(`${dashboard}\n`))
      for (const { title, description, fieldConfig } of panels) {
        expect(description, title).toMatch(/\w.*\.$/)
        expect(fieldConfig.defaults.unit, title).toMatch(/\w/)
        expect(told).toMatch(new RegExp(`^\\| _${title}_ +\\| \\S.* \\| \\S.* \\|$`, 'm'))
      }
    }
  })

  it('pods serve what their probes and services ask for, as the user of the image', () => {
    const sets = manifests.filter(({ kind }) => kind === 'StatefulSet')
    const config = manifests.find(({ kind }) => kind === 'ConfigMap')
    expect(sets).toHaveLength(2)
    for (const { metadata, spec } of sets) {
      const service = manifests.find(
        ({ kind, metadata: { name } }) => kind === 'Service' && name === spec.serviceName,
      )
      expect(spec.template.metadata.labels).toEqual(service.spec.selector)
      expect(spec.selector.matchLabels).toEqual(service.spec.selector)
      const [container] = spec.template.spec.containers
      const ports = Object.fromEntries(
        container.ports.map(({ name, containerPort }) => [name, containerPort]),
      )
      for (const { name, port } of service.spec.ports) expect(ports[name]).toBe(port)
      expect(config.data.COMIGS_PEER_HTTP).toBe(`0.0.0.0:${ports.http}`)
      expect(config.data.COMIGS_PEER_HTTP_NAMES.split(' ')).toContain(metadata.name)
      for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe'])
        expect(container[probe].httpGet.port).toBe('http')
      expect(config.data.COMIGS_PEER_STATE).toMatch(`${container.volumeMounts[0].mountPath}/`)
      expect(container.securityContext.readOnlyRootFilesystem).toBe(true)
      expect(spec.template.spec.securityContext.runAsNonRoot).toBe(true)
    }
  })
})
