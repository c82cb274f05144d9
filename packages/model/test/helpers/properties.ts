import fc from 'fast-check'

// The same examples in every run: a test that fails only sometimes is not believed.
fc.configureGlobal({ seed: 2024 })

export { fc }
