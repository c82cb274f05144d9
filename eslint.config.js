import prettier from 'eslint-config-prettier'
import tseslint from 'typescript-eslint'

/** Who may import whom (docs/ARCHITECTURE.md): node -> model, node -> protocol, nothing else. */
const forbidden = (...patterns) => ({
  'no-restricted-imports': ['error', { patterns: patterns.map((group) => ({ group: [group] })) }],
})

export default tseslint.config(
  {
    ignores: [
      '**/dist/**',
      '**/pb/**',
      '**/node_modules/**',
      '**/*.mjs',
      'eslint.config.js',
      '.comigs/**',
      '.cache/**',
    ],
  },
  ...tseslint.configs.strictTypeChecked,
  prettier,
  {
    languageOptions: {
      parserOptions: {
        project: [
          './tsconfig.test.json',
          './test/browser/tsconfig.json',
          './packages/node/page/tsconfig.json',
        ],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      // Hot loops index typed arrays; noUncheckedIndexedAccess makes that `a[i]!`.
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      // Interfaces say async where one implementation happens to need no await.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/triple-slash-reference': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // Our interfaces are closures, not classes: nothing is bound to `this`.
      '@typescript-eslint/unbound-method': 'off',
      // A flag that another callback changes looks constant to the type checker.
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      'no-console': 'error',
      'no-restricted-syntax': [
        'error',
        { selector: 'TSEnumDeclaration', message: 'Use a union of string literals.' },
        { selector: 'TSModuleDeclaration[kind="namespace"]', message: 'Use a module.' },
      ],
    },
  },
  {
    files: ['packages/model/src/**'],
    rules: forbidden('@comigs/node*', '@comigs/protocol*', 'libp2p', '@libp2p/*', '@chainsafe/*'),
  },
  {
    files: ['packages/protocol/src/**'],
    rules: forbidden('@comigs/node*', '@comigs/model*', '@tensorflow/*', 'onnxruntime*'),
  },
  {
    // The main thread of a peer computes nothing: tfjs alone would be 20 MB of it. These are imported by what computes.
    files: ['packages/node/src/**'],
    ignores: [
      'packages/node/src/experiment/{data,experiment,federation,run-file}.ts',
      'packages/node/src/take-away.ts',
      'packages/node/src/training/training-host.ts',
    ],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        { paths: [{ name: '@comigs/model', allowTypeImports: true, message: 'Take @comigs/model/light.' }] },
      ],
    },
  },
  {
    // Time, randomness and the environment come in from outside.
    files: ['packages/model/src/**', 'packages/protocol/src/**'],
    rules: {
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random', message: 'Take a random stream.' },
        { object: 'Date', property: 'now', message: 'Take a clock.' },
        { object: 'process', property: 'env', message: 'Only @comigs/node reads the environment.' },
        { object: 'performance', property: 'now', message: 'Take a clock.' },
      ],
      'no-restricted-globals': ['error', 'setTimeout', 'setInterval', 'setImmediate'],
    },
  },
  {
    files: ['**/test/**', 'test/**', 'bench/**'],
    rules: {
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
    },
  },
)
