import type { BaseDtype } from '@comigs/model'
import type { Command } from 'commander'
import { once } from 'node:events'
import { resolveBase } from '../base-folder.ts'
import type { PeerStatus } from '../events.ts'
import { loadPersonalModel } from '../text/personal-model.ts'
import { type Training, withTrainingWorker } from '../training/training-worker.ts'
import { VERSION } from '../version.ts'
import { type HttpFlags, httpOptions, shared } from './options.ts'
import { downloadBar, print, printJson } from './output.ts'
import { stopSignal } from './stop-signal.ts'

interface Flags extends HttpFlags {
  readonly state: string
  readonly base?: string | undefined
  readonly baseDtype: BaseDtype
  readonly engine: 'auto'
  readonly threads: number
  readonly json?: boolean
}

/** `comigs-peer serve`: the personal model in a state folder over HTTP, without a peer. */
export function addServeCommand(program: Command): void {
  const command = program
    .command('serve')
    .summary("Serve the personal model as OpenAI's API does.")
    .description("Serve the personal model in a state folder over OpenAI's HTTP interface, without training.")
    .addOption(shared.state())
    .addOption(shared.base())
    .addOption(shared.baseDtype())
    .addOption(shared.engine())
    .addOption(shared.threads())
  for (const one of httpOptions()) command.addOption(one)
  command
    .addOption(shared.config())
    .addOption(shared.json())
    .addHelpText('after', '\nExample:\n  npx comigs-peer serve --state .comigs --http 8000')
    .action(async (flags: Flags) => {
      // Before ctrl-C is ours: a download heeds no signal.
      const base = await resolveBase(flags.base, downloadBar)
      const stop = stopSignal()
      await withTrainingWorker((training) => serve({ ...flags, base }, training, stop))
    })
}

export async function serve(flags: Flags, training: Training, stop: AbortSignal): Promise<void> {
  const stopped = once(stop, 'abort').then(() => undefined)
  const { startHttp } = await import('../http/server.ts')
  const { countTexts, createMetrics } = await import('../metrics.ts')
  const { createTextService } = await import('../text/text-service.ts')
  // Loading heeds no signal, and nothing is lost with it.
  const model = await Promise.race([loadPersonalModel(training, flags), stopped])
  if (model === undefined) return
  const metrics = createMetrics()
  const { federation, round, engine, device, reason } = model
  metrics.info.set(
    {
      name: federation.name,
      version: VERSION,
      engine,
      federation: federation.hash.slice(0, 16),
      strategy: 'serve',
    },
    1,
  )
  metrics.round.set(round)
  const status: PeerStatus = {
    name: federation.name,
    version: VERSION,
    phase: 'serving',
    engine: { name: engine, device, reason },
    federation,
    refusals: {},
    rounds: [],
  }
  const http = await startHttp({
    ...flags.http,
    names: flags.httpNames ?? [],
    token: flags.httpToken,
    metrics: () => metrics.registry.metrics(),
    ready: () => true,
    status: () => status,
    text: createTextService({
      training,
      positions: model.model.positions,
      onEnd: countTexts(metrics),
    }),
    onRefused: (why) => {
      metrics.httpRefusals.inc({ reason: why })
    },
  })
  if (flags.json === true) printJson({ event: 'serving', http: http.url, round, federation })
  else print(`serving     ${http.url}/v1 (as of round ${round}; ctrl-C stops)\npage        ${http.url}`)
  await stopped
  await http.stop()
}
