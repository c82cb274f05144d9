import { defineConfig } from 'vitest/config'

/** Packages are resolved to their sources, so that unit tests need no build. Peers in processes of their own run dist. */
const resolve = { conditions: ['@comigs/source'] }
const ssr = { resolve: { conditions: ['@comigs/source'], externalConditions: ['@comigs/source'] } }

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    setupFiles: ['test/setup.ts'],
    // Tests that make sessions of their own, past our loader, report nothing either.
    env: { ORT_DISABLE_TELEMETRY: '1' },
    projects: [
      {
        extends: true,
        resolve,
        ssr,
        test: {
          name: 'unit',
          include: [
            'packages/*/test/**/*.test.ts',
            'test/contract/**/*.test.ts',
            'test/simulation/**/*.test.ts',
            'test/chaos/**/*.test.ts',
            'test/deploy/**/*.test.mjs',
            'bench/**/*.test.mjs',
          ],
          testTimeout: 30_000,
        },
      },
      {
        extends: true,
        resolve,
        ssr,
        // Commands in processes of their own, two files at a time.
        test: {
          name: 'cli',
          include: ['test/cli/**/*.test.ts'],
          testTimeout: 240_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        resolve,
        ssr,
        // Peers that meet over real TCP: one file at a time, or they starve each other.
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 240_000,
          hookTimeout: 120_000,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        resolve,
        ssr,
        // Only when asked for, `npm run test:webgpu`: a GPU in software compiles shaders for minutes.
        test: { name: 'webgpu', include: ['test/webgpu/**/*.test.ts'], testTimeout: 600_000 },
      },
      {
        extends: true,
        resolve,
        ssr,
        // Only when asked for, `npm run test:soak`: minutes. What it measures is of the whole process: a file at a time.
        test: {
          name: 'soak',
          include: ['test/soak/**/*.test.ts'],
          testTimeout: 600_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
