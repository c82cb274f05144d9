import { defineConfig } from 'vitest/config'

/** Not part of `npm test`: needs a browser (scripts/test-browser.mjs). */
export default defineConfig({
  root: import.meta.dirname,
  resolve: { conditions: ['@comigs/source'] },
  ssr: { resolve: { conditions: ['@comigs/source'], externalConditions: ['@comigs/source'] } },
  test: {
    pool: 'forks',
    setupFiles: ['../setup.ts'],
    include: ['*.test.ts'],
    testTimeout: 240_000,
    hookTimeout: 120_000,
    fileParallelism: false,
    // The page looks every two seconds, on a busy machine.
    expect: { poll: { timeout: 20_000 } },
  },
})
