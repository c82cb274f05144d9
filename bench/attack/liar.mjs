// Loaded into the peers' processes before anything else (`node --import`). The one that LIAR names is as released, trains on its
// own text and follows the others, and tells another vector than it has.
import { register } from 'node:module'

const name = process.argv[process.argv.indexOf('--name') + 1]
if (name === process.env.LIAR)
  register('./lie.mjs', import.meta.url, { data: { scale: Number(process.env.LIE_SCALE) } })
