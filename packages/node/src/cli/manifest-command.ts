import { reasonOf } from '@comigs/model/light'
import { encodeManifest, type Manifest, manifestHash, parseManifest } from '@comigs/protocol'
import type { Command } from 'commander'
import { writeFile } from 'node:fs/promises'
import { DEFAULT_BASE, findBase, resolveBase } from '../base-folder.ts'
import { NodeError } from '../errors.ts'
import { forRounds, newManifest, OPEN_ENDED, readManifest, requireFit } from '../new-manifest.ts'
import { between, option, shared, shareOfValues, wholeNumber } from './options.ts'
import { downloadBar, print, printJson } from './output.ts'
import { newSeed } from './text-options.ts'

interface NewFlags {
  readonly name: string
  readonly base?: string
  readonly rounds?: number
  readonly codec: Manifest['codec']['values']
  readonly share?: number
  readonly trusting: boolean
  readonly momentum?: number
  readonly clip?: number
  readonly noise?: number
  readonly seed?: number
}

/** `comigs-peer manifest`: the file that defines a federation. */
export function addManifestCommands(program: Command): void {
  const manifest = program
    .command('manifest')
    .summary("Make, check or show a federation's definition.")
    .description('Make, check or show the file that defines a federation.')
    .addHelpText('after', '\nExample:\n  npx comigs-peer manifest new friends.json')
  manifest
    .command('new <file>')
    .description('Write the manifest of a new federation, for --manifest of its first peer.')
    .addOption(option('--name <name>', 'what to call the federation').default('comigs'))
    .addOption(shared.base())
    .addOption(
      option(
        '--rounds <n>',
        'let the learning rate fall to a tenth by this round (default: it stays)',
      ).argParser(wholeNumber(1)),
    )
    .addOption(
      option('--codec <name>', 'how deltas are written down')
        .choices(['float32', 'float16', 'int8', 'int4'])
        .default('int8'),
    )
    .addOption(
      option('--share <share>', 'send only this share of a delta, the largest values').argParser(
        shareOfValues,
      ),
    )
    .addOption(option('--trusting', 'mix in what others say as it is').default(false))
    .addOption(shared.momentum())
    .addOption(
      option('--clip <norm>', 'differential privacy: clip an update to this norm,').argParser(
        between(1e-9, 1e9),
      ),
    )
    .addOption(
      option('--noise <factor>', '  and add noise of so many times it').argParser(between(1e-9, 1e9)),
    )
    .addOption(shared.seed('the generalist that all peers begin with'))
    .addHelpText(
      'after',
      '\nExample:\n  npx comigs-peer manifest new friends.json --name friends --rounds 100',
    )
    .action(create)
  manifest
    .command('check <file>')
    .description('Is it valid, and is its base on this machine?')
    .addOption(shared.base())
    .addHelpText('after', '\nExample:\n  npx comigs-peer manifest check friends.json')
    .action(async (file: string, flags: { readonly base?: string }) => {
      const read = await readManifest(file)
      const base = await findBase(read.base, await resolveBase(flags.base, downloadBar))
      await requireFit(read, base)
      print(`valid       ${read.name} ${manifestHash(read)}\nbase        ${base}`)
    })
  manifest
    .command('show <file>')
    .description('Print it with its hash, which --federation takes.')
    .addOption(shared.json())
    .addHelpText('after', '\nExample:\n  npx comigs-peer manifest show friends.json')
    .action(async (file: string, { json }: { readonly json?: boolean }) => {
      const read = await readManifest(file)
      const federation = manifestHash(read)
      if (json === true) printJson({ federation, manifest: read })
      else print(`federation  ${federation}\n${JSON.stringify(read, null, 2)}`)
    })
}

async function create(file: string, flags: NewFlags): Promise<void> {
  const { name, codec, share, trusting, clip, noise, rounds } = flags
  const base = (await resolveBase(flags.base, downloadBar)) ?? DEFAULT_BASE
  const plain = await newManifest(base, {
    name,
    seed: flags.seed ?? newSeed(),
    schedule: rounds === undefined ? OPEN_ENDED : forRounds(rounds),
    codec: { values: codec, ...(share === undefined ? {} : { topK: share }) },
    robust: !trusting,
    momentum: flags.momentum,
  })
  // One without the other is refused with the field's name.
  const isPrivate = clip !== undefined || noise !== undefined
  const made = isPrivate ? parseManifest({ ...plain, privacy: { clip, noise } }) : plain
  // A federation that peers are in already must not vanish by a typing error.
  await writeFile(file, encodeManifest(made), { flag: 'wx' }).catch((error: unknown) => {
    const exists = (error as NodeJS.ErrnoException).code === 'EEXIST'
    const reason = exists
      ? 'is there already, and its federation may be in use; choose another name'
      : `cannot be written: ${reasonOf(error)}`
    throw new NodeError({ code: 'OPTION_INVALID', option: '<file>', value: file, reason })
  })
  print(
    `federation  ${manifestHash(made)}\nto start    npx comigs-peer --manifest ${file} --data <your text>`,
  )
}
