import { ModelError } from '../errors.ts'
import type { EngineName } from './engine.ts'

/**
 * Loads a library that may be missing, or have no build for this machine.
 * @throws ModelError `ENGINE_UNAVAILABLE`
 */
export async function optionalImport(engine: EngineName, name: string): Promise<Record<string, unknown>> {
  try {
    const module = (await import(name)) as { default?: Record<string, unknown> }
    return module.default ?? module
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0]! : String(error)
    throw new ModelError(
      { code: 'ENGINE_UNAVAILABLE', engine, reason: `${name} does not load: ${reason}` },
      { cause: error },
    )
  }
}
