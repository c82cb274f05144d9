// Before a package is packed: compiles, and puts the licences in, which npm takes from the package's own folder only.
import { copyFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'

prepare()
for (const licence of ['LICENSE-APACHE', 'LICENSE-MIT'])
  copyFileSync(fileURLToPath(new URL(`../${licence}`, import.meta.url)), licence)
