import { type Command, Help, Option } from 'commander'
import { keyOf, readsConfig, settingsOf } from './config-file.ts'

/** Help that fits a screen: no environment variable with each option (the rule stands below), one line a command. */
export const HELP = { optionDescription, subcommandTerm: (command: Command) => command.name() }

/** Where else a command's options may stand, by the example of one that its help shows. */
export function helpFooter({ command }: { readonly command: Command }): string {
  const shown = command.createHelp().visibleOptions(command)
  const settings = settingsOf(command).filter((option) => shown.includes(option))
  // One of several words shows more of the rule.
  const example = settings.find((option) => keyOf(option).includes('-')) ?? settings[0]
  if (example === undefined) return ''
  const inEnvironment = `in the environment (${example.long!}: ${example.envVar!})`
  return `\n${wrapped(
    readsConfig(command)
      ? `Options may also stand ${inEnvironment} or in a --config file (${keyOf(example)}); flags go before both.`
      : `Options may also stand ${inEnvironment}; flags go before it.`,
  )}`
}

function optionDescription(option: Option): string {
  const notes = [
    ...(option.argChoices === undefined ? [] : [option.argChoices.join(', ')]),
    ...(option.defaultValue === undefined || option.defaultValue === false
      ? []
      : [`default: ${option.defaultValueDescription ?? String(option.defaultValue)}`]),
  ]
  return notes.length === 0 ? option.description : `${option.description} (${notes.join('; ')})`
}

/** A paragraph, by default as wide as a narrow terminal. */
export const wrapped = (text: string, width = 80): string => new Help().boxWrap(text, width)

/**
 * For a command with more options than a screen has lines: `--help` shows the essential ones, `--help-all` all.
 * @param essential - by name, `--data`
 */
export function withShortHelp(command: Command, essential: readonly string[]): void {
  let all = false
  const own = [...essential, '--help-all']
  command
    .configureHelp({
      ...HELP,
      visibleOptions: (shown) => {
        const options = new Help().visibleOptions(shown)
        return shown !== command || all ? options : options.filter(({ long }) => own.includes(long!))
      },
      // Few options need no headings.
      groupItems: (unsorted, visible, groupOf) =>
        new Help().groupItems(unsorted, visible, (item) =>
          item instanceof Option && !all ? 'Options:' : groupOf(item),
        ),
    })
    .addOption(new Option('--help-all', 'display help with every option').helpGroup('Options:'))
    .on('option:help-all', () => {
      all = true
      command.help()
    })
}
