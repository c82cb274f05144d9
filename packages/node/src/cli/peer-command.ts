import type { DataSource } from '@comigs/model'
import type { Command } from 'commander'
import { resolveBase } from '../base-folder.ts'
import { NodeError } from '../errors.ts'
import { type PeerConfig, runPeer } from '../peer.ts'
import { createLog, downloadBar, printEvent } from './output.ts'
import { httpOptions, list, option, shared, wholeNumber } from './options.ts'
import { stopSignal } from './stop-signal.ts'

/** Every interface, a port of the system's choice. */
const LISTEN = '/ip4/0.0.0.0/tcp/0'

interface Flags extends Omit<
  PeerConfig,
  'data' | 'rounds' | 'bootstrap' | 'psk' | 'allow' | 'listen' | 'announce' | 'httpNames'
> {
  readonly bootstrap?: string[]
  readonly psk?: string
  readonly allow?: string[]
  readonly listen?: string[]
  readonly announce?: string[]
  readonly httpNames?: string[]
  readonly data?: string[]
  readonly train?: string[]
  readonly valid?: string[]
  readonly test?: string[]
  readonly rounds?: number
  readonly json?: boolean
  readonly logLevel: string
}

/** `comigs-peer` itself: one peer. */
export function addPeerCommand(program: Command): void {
  program
    .optionsGroup('Federation:')
    .addOption(
      option('--bootstrap <address...>', 'peers to join through, as they print themselves').argParser(list),
    )
    .addOption(option('--manifest <file>', 'start (or join) the federation that this file describes'))
    .addOption(option('--federation <hash>', 'join only this federation (or what begins so)'))
    .addOption(option('--psk <file>', "a private federation's key, as `comigs-peer psk` makes it"))
    .addOption(
      option('--allow <peer...>', 'talk to these peers only: ids, or files with one a line').argParser(list),
    )
    .optionsGroup('Text:')
    .addOption(
      option('--data <path...>', 'your text: files and folders of .txt, .md, or .gz of these').argParser(
        list,
      ),
    )
    .addOption(option('--train <path...>', 'or three sets of your own: to learn from,').argParser(list))
    .addOption(option('--valid <path...>', '  to choose between experts by,').argParser(list))
    .addOption(option('--test <path...>', '  to be judged on').argParser(list))
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
      option('--wait-for-peers <n>', 'train only when so many others are there')
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
    .addOption(shared.strategy())
    .addOption(shared.seed())
    .addOption(shared.engine())
    .addOption(shared.threads())
    .optionsGroup('Network:')
    .addOption(
      option('--listen <address...>', `multiaddrs to listen on (default: ${LISTEN})`).argParser(list),
    )
    .addOption(
      option('--announce <address...>', 'further multiaddrs at which others reach us').argParser(list),
    )
    .addOption(option('--crowded', "many peers share this machine's address").default(false))
  program.optionsGroup('Metrics, status and text over HTTP:')
  for (const one of httpOptions()) program.addOption(one)
  program
    .optionsGroup('Output:')
    .addOption(shared.json())
    .addOption(shared.logLevel())
    .addHelpText(
      'after',
      `
Examples:
  comigs-peer --data ~/notes                                  start a federation; prints what others type to join
  comigs-peer --bootstrap <address> --data ~/mail --state ~/.comigs-mail`,
    )
    .action(async (flags: Flags) => {
      const config: PeerConfig = {
        ...flags,
        bootstrap: flags.bootstrap ?? [],
        psk: flags.psk,
        allow: flags.allow,
        listen: flags.listen ?? [LISTEN],
        announce: flags.announce ?? [],
        httpNames: flags.httpNames ?? [],
        data: dataSource(flags),
        base: await resolveBase(flags.base, downloadBar),
        rounds: flags.rounds ?? Infinity,
      }
      const print = printEvent({ json: flags.json === true })
      await runPeer(config, { onEvent: print, log: createLog(flags.logLevel), signal: stopSignal() })
    })
}

function dataSource({ data, train, valid, test }: Flags): DataSource {
  if (train !== undefined && valid !== undefined && test !== undefined && data === undefined)
    return { train, valid, test }
  if (data !== undefined && train === undefined && valid === undefined && test === undefined) return { data }
  const reason = 'is needed: your text, or --train, --valid and --test together'
  throw new NodeError({ code: 'OPTION_INVALID', option: '--data', value: (data ?? []).join(' '), reason })
}
