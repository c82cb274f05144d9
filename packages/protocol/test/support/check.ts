import fc from 'fast-check'
import { ProtocolError, type ProtocolErrorDetail } from '../../src/errors.ts'

type Arbitraries<Values> = { [K in keyof Values]: fc.Arbitrary<Values[K]> }

/** Every property runs from the same seed: a failure today is a failure tomorrow. */
const SEED = 7

export function holds<Values extends [unknown, ...unknown[]]>(
  arbitraries: Arbitraries<Values>,
  check: (...values: Values) => void,
  numRuns = 100,
): void {
  const property = fc.property(fc.tuple<Values>(...arbitraries), (values) => {
    check(...values)
  })
  fc.assert(property, { seed: SEED, numRuns })
}

export async function holdsAsync<Values extends [unknown, ...unknown[]]>(
  arbitraries: Arbitraries<Values>,
  check: (...values: Values) => Promise<void>,
  numRuns = 100,
): Promise<void> {
  const property = fc.asyncProperty(fc.tuple<Values>(...arbitraries), (values) => check(...values))
  await fc.assert(property, { seed: SEED, numRuns })
}

/** The detail of the ProtocolError that is thrown. Anything else, and nothing at all, fails the test. */
export function thrown(call: () => unknown): ProtocolErrorDetail {
  try {
    call()
  } catch (error) {
    return detailOf(error)
  }
  throw new Error('nothing was thrown')
}

/** The same for a promise. */
export async function rejection(promise: Promise<unknown>): Promise<ProtocolErrorDetail> {
  try {
    await promise
  } catch (error) {
    return detailOf(error)
  }
  throw new Error('it was not rejected')
}

function detailOf(error: unknown): ProtocolErrorDetail {
  if (error instanceof ProtocolError) return error.detail
  throw new Error(`not a ProtocolError: ${String(error)}`, { cause: error })
}
