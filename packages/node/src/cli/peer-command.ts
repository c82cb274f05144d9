import type { Command } from 'commander'
import { resolveBase } from '../base-folder.ts'
import type { PeerConfig } from '../peer.ts'
import { addTextSources, dataSource, type TextSources } from './data-options.ts'
import { withShortHelp } from './help.ts'
import { createLog, createProgress, printEvent, printNote, showDownload } from './output.ts'
import { httpOptions, option, shared, wholeNumber } from './options.ts'
import { createStopNote } from './stop-note.ts'
import { stopSignal } from './stop-signal.ts'

/** Every interface, a port that comes from the peer's key. */
const LISTEN = '/ip4/0.0.0.0/tcp/0'

export interface PeerFlags
  extends Omit<PeerConfig, 'data' | 'bootstrap' | 'psk' | 'allow' | 'announce' | 'httpNames'>, TextSources {
  readonly bootstrap?: string[]
  readonly psk?: string
  readonly allow?: string[]
  readonly announce?: string[]
  readonly httpNames?: string[]
  readonly json?: boolean
  readonly quiet: boolean
  readonly logFile?: string
  readonly logLevel: string
}

/** Enough to start, to join and to look at what happens. */
const ESSENTIAL = ['--bootstrap', '--psk', '--data', '--state', '--base', '--rounds', '--http', '--config']

/** What a peer can be told. */
export function addPeerOptions(command: Command): void {
  withShortHelp(command, ESSENTIAL)
  command
    .optionsGroup('Federation:')
    .addOption(option('--bootstrap <address...>', 'peers to join through, as they print themselves'))
    .addOption(option('--mdns', 'find peers in the local network, and be found there').default(false))
    .addOption(option('--manifest <file>', 'start (or join) the federation that this file describes'))
    .addOption(option('--federation <hash>', 'join only this federation (or what begins so)'))
    .addOption(option('--psk <file>', "a private federation's key: see npx comigs-peer psk"))
    .addOption(option('--allow <peer...>', 'talk to these peers only: ids, or files with one a line'))
    .optionsGroup('Text:')
  addTextSources(command)
    .optionsGroup('Model and training:')
    .addOption(option('--name <name>', 'what to call this peer').default('peer'))
    .addOption(shared.state())
    .addOption(shared.base())
    .addOption(shared.baseDtype())
    .addOption(shared.experts())
    .addOption(shared.batch())
    .addOption(shared.context())
    .addOption(shared.rounds())
    .addOption(
      option(
        '--local-steps <n>',
        "expert steps a round, to keep pace on a slow machine (default: the federation's)",
      ).argParser(wholeNumber(1)),
    )
    .addOption(
      option('--wait-for-peers <n>', 'do not begin to train before so many others are there')
        .argParser(wholeNumber(0))
        .default(0),
    )
    .addOption(option('--stay', 'keep serving after the last round').default(false))
    .addOption(
      option('--evaluate-every <n>', 'rounds between looks at the validation loss')
        .argParser(wholeNumber(1))
        .default(1),
    )
    .addOption(
      option('--evaluate-batches <n>', 'batches of such a look').argParser(wholeNumber(1)).default(4),
    )
    .addOption(
      option(
        '--publish-perplexity',
        'let everyone in the federation read our validation perplexity; pages show it without a name',
      ).default(false),
    )
    .addOption(shared.strategy())
    .addOption(
      option(
        '--measure-distance',
        'with --strategy local: tell the generalist once, after the last round, so that it can be measured how far peers are apart',
      ).default(false),
    )
    .addOption(shared.seed("everything random that is this peer's own"))
    .addOption(shared.engine())
    .addOption(shared.threads())
    .optionsGroup('Network:')
    .addOption(
      option(
        '--listen <address...>',
        'multiaddrs to listen on; port 0: the same each time, if it is free',
      ).default([LISTEN], LISTEN),
    )
    .addOption(option('--announce <address...>', 'further multiaddrs at which others reach us'))
    .addOption(
      option('--relay', 'carry connections to peers that cannot be dialled (--listen /p2p-circuit)').default(
        false,
      ),
    )
    .addOption(option('--upnp', 'ask the router to forward the port that we listen on').default(false))
    .addOption(option('--crowded', "many peers share this machine's address").default(false))
  command.optionsGroup('The page, metrics and text over HTTP:')
  for (const one of httpOptions()) command.addOption(one)
  command
    .optionsGroup('Configuration and output:')
    .addOption(shared.config())
    .addOption(shared.json())
    .addOption(option('--quiet', 'print nothing but the result and what is wrong').default(false))
    .addOption(shared.logLevel())
    .addOption(
      option('--log-file <file>', 'append the log to this file too, from info on, a JSON object a line'),
    )
}

/** `comigs-peer` itself: one peer. */
export function addPeerCommand(program: Command): void {
  addPeerOptions(program)
  program
    .addHelpText(
      'after',
      `
Examples:
  npx comigs-peer --data ~/notes  # starts a federation, prints what others type
  npx comigs-peer --bootstrap <address> --data ~/mail --state ~/.comigs-mail`,
    )
    .action(async (flags: PeerFlags) => {
      const progress = createProgress(flags.json !== true && !flags.quiet)
      const config: PeerConfig = {
        ...flags,
        bootstrap: flags.bootstrap ?? [],
        psk: flags.psk,
        allow: flags.allow,
        announce: flags.announce ?? [],
        httpNames: flags.httpNames ?? [],
        data: dataSource(flags),
        base: await resolveBase(flags.base, showDownload(progress)),
      }
      const { runPeer } = await import('../peer.ts')
      const show = printEvent({
        json: flags.json === true,
        quiet: flags.quiet,
        invited: {
          base: flags.base === config.base ? flags.base && '<the same base>' : flags.base,
          isPrivate: flags.psk !== undefined,
          mdns: flags.mdns,
        },
      })
      const stopped = createStopNote()
      const signal = stopSignal()
      const log = createLog(flags.logLevel, flags.logFile, progress.clear)
      try {
        await runPeer(config, {
          onEvent: (event) => {
            stopped.note(config.name, event)
            progress.clear()
            show(event)
          },
          onActivity: progress.show,
          log,
          signal,
        })
      } finally {
        progress.show(undefined)
      }
      if (signal.aborted && flags.json !== true && !flags.quiet)
        printNote(stopped.text(1, 'the same command goes on'))
    })
}
