import { ModelError, type ModelErrorDetail } from '../../src/errors.ts'

/** What a call that must be refused says about it. Anything but a ModelError passes through and fails the test. */
export async function refusal(run: () => unknown): Promise<ModelErrorDetail> {
  try {
    await run()
  } catch (error) {
    if (error instanceof ModelError) return error.detail
    throw error
  }
  throw new Error('nothing was refused')
}
