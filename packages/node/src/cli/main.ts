import '../polyfill.ts'
import pc from 'picocolors'
import { setFlagsFromString } from 'node:v8'
import { adviceOf, exitCodeOf, EXIT, isCoded } from '../errors.ts'

// A thread's young generation grows to 32 MB while it starts, and stays that large, nearly empty. This keeps it at 2 MB, for
// what is imported from here on.
setFlagsFromString('--semi-space-growth-factor=1')
const { createProgram } = await import('./program.ts')

// A disk that is full says so later than the write: a key of no bytes is not to look like one that was made.
process.stdout.on('error', ({ message }) => {
  process.stderr.write(`${pc.red('error')}: the output cannot be written: ${message}\n`)
  process.exit(EXIT.failure)
})

try {
  await createProgram().parseAsync()
  await new Promise<void>((resolve, reject) => {
    process.stdout.write('', (error) => (error ? reject(error) : resolve()))
  })
} catch (error) {
  process.exitCode = report(error)
}
process.exit()

/** @returns the exit code */
function report(error: unknown): number {
  if (isCommanderError(error)) return error.exitCode === 0 ? EXIT.ok : EXIT.usage // commander has said it already
  const code = isCoded(error) ? ` [${error.detail.code}]` : ''
  process.stderr.write(
    `${pc.red('error')}${code}: ${error instanceof Error ? error.message : String(error)}\n`,
  )
  const advice = adviceOf(error)
  if (advice !== undefined) process.stderr.write(`  ${advice}\n`)
  if (!isCoded(error) && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
  return exitCodeOf(error)
}

function isCommanderError(error: unknown): error is Error & { exitCode: number } {
  return error instanceof Error && 'exitCode' in error
}
