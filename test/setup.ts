import { afterAll, beforeAll } from 'vitest'

// A test that writes to the console hides something: either the code talks where it should not, or the test is a draft.
const written: string[] = []
const methods = ['log', 'warn', 'error', 'info', 'debug'] as const

beforeAll(() => {
  for (const method of methods) {
    // eslint-disable-next-line no-console -- this is where console use is caught
    console[method] = (...values: unknown[]) => {
      written.push(`console.${method}: ${values.map(String).join(' ')}`)
    }
  }
})

afterAll(() => {
  if (written.length > 0) throw new Error(`tests wrote to the console:\n${written.join('\n')}`)
})
