// `node --conditions=@comigs/source --import ./scripts/typescript.mjs x.ts`: runs the sources as they are, without a build,
// on every Node that we support. For simulations and benches that share the tests' support code.
import { register } from 'node:module'

register(new URL('typescript-hooks.mjs', import.meta.url))
