// `npm run test:kubernetes`: renders docker/kubernetes as `kubectl apply -k` would and validates what comes out against
// Kubernetes' own schemas, without a cluster. Needs kubectl and kubernetes-validate (pip install kubernetes-validate); exits
// with 77 and one line where they are missing. KUBERNETES_VERSION chooses the schemas.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

for (const [program, args] of [
  ['kubectl', ['kustomize', '--help']],
  ['kubernetes-validate', ['--help']],
]) {
  if (spawnSync(program, args, { stdio: 'ignore' }).status !== 0) {
    console.error(`SKIP test:kubernetes: no ${program}`)
    process.exit(77)
  }
}
const manifests = fileURLToPath(new URL('../docker/kubernetes', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'comigs-kubernetes-'))
const file = join(folder, 'all.yaml')
try {
  writeFileSync(file, execFileSync('kubectl', ['kustomize', manifests]))
  const version = process.env.KUBERNETES_VERSION
    ? ['--kubernetes-version', process.env.KUBERNETES_VERSION]
    : []
  const { status } = spawnSync('kubernetes-validate', ['--strict', ...version, file], {
    stdio: ['ignore', 2, 2],
  })
  process.exitCode = status ?? 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
