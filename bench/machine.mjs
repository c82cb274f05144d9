import { availableParallelism, cpus, loadavg, totalmem } from 'node:os'

/** What a figure depends on, to stand beside it. `load` above zero at the start: others were computing too. */
export const machine = () => ({
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: availableParallelism(),
  memoryGB: Math.round(totalmem() / 1e9),
  node: process.version,
  load: Number(loadavg()[0].toFixed(1)),
})
