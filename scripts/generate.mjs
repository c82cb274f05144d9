// Regenerates the protobuf code from the .proto files, and docs/reference: `npm run generate`. The results are committed.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

const PROTOS = ['packages/model/src/engine/onnx/onnx.proto', 'packages/protocol/src/messages.proto']

for (const proto of PROTOS) {
  const out = join(dirname(proto), 'pb')
  mkdirSync(out, { recursive: true })
  execFileSync('npx', ['--no-install', 'protons', proto, '-o', out], {
    stdio: ['ignore', 'inherit', 'ignore'],
  })
  const file = join(out, basename(proto, '.proto') + '.ts')
  // protons' code is not written for this project's compiler flags.
  writeFileSync(
    file,
    `// Generated from ../${basename(proto)} by \`npm run generate\`; do not edit.\n// @ts-nocheck\n${readFileSync(file, 'utf8')}`,
  )
}
execFileSync('npx', ['--no-install', 'tsc', '-b'], { stdio: 'inherit' })
execFileSync(process.execPath, ['scripts/reference.mjs'], { stdio: 'inherit' })
execFileSync(
  'npx',
  [
    '--no-install',
    'prettier',
    '--write',
    '--log-level',
    'warn',
    ...PROTOS.map((proto) => join(dirname(proto), 'pb')),
  ],
  {
    stdio: 'inherit',
  },
)
