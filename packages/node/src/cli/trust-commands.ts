import type { Command } from 'commander'
import { print } from './output.ts'
import { shared } from './options.ts'

/** `comigs-peer psk` and `comigs-peer id`: what a private federation is made of. */
export function addTrustCommands(program: Command): void {
  program
    .command('psk')
    .summary('Make a key for a private federation.')
    .description('Make a key for a private federation: whoever has it can join, nobody else can.')
    .addHelpText(
      'after',
      '\nExample:\n  (umask 077; npx comigs-peer psk > swarm.key)\n  npx comigs-peer --psk swarm.key --data <your text>',
    )
    .action(async () => {
      const { makeKey } = await import('../host/admission.ts')
      process.stdout.write(makeKey())
    })
  program
    .command('id')
    .summary("Print a peer's id, for the --allow lists of others.")
    .description("Print a peer's id, for the --allow lists of others; makes its key where there is none.")
    .addOption(shared.state())
    .addHelpText('after', '\nExample:\n  npx comigs-peer id --state .comigs')
    .action(async ({ state: folder }: { readonly state: string }) => {
      const { peerIdFromPrivateKey } = await import('@libp2p/peer-id')
      const { openStateDirectory } = await import('../state/state-directory.ts')
      const state = await openStateDirectory(folder)
      try {
        print(peerIdFromPrivateKey(await state.key()).toString())
      } finally {
        await state.release()
      }
    })
}
