import { createLearner, type Engine, type Learner, selectEngine } from '@comigs/model'
import { afterAll } from 'vitest'
import { tinyBase, tokenSet } from '../../../model/test/helpers/models.ts'
import { placeBase } from '../../../model/src/trainer.ts'
import type { User } from '../../src/experiment/data.ts'
import {
  type FederationInit,
  type FederationResult,
  type FederationState,
  runFederation,
} from '../../src/experiment/federation.ts'
import type { Strategy } from '../../src/experiment/strategy.ts'
import { PAPER } from '../../src/paper.ts'

export const [BATCH, CONTEXT] = [2, 16]

/** Random text of four users. */
export const USERS: readonly User[] = ['a', 'b', 'c', 'd'].map((name) => {
  const set = (split: string, length: number) => ({
    ...tokenSet(`${split} of ${name}`, length),
    groups: [{ name, from: 0, to: length }],
  })
  return { name, train: set('train', 300), valid: set('valid', 40), test: set('test', 40) }
})

/** Runs federations of tiny models; one engine and one learner of each shape for all tests of a file. */
export async function tinyFederations() {
  const { engine } = await selectEngine({ engine: 'onnx' })
  afterAll(() => {
    engine.dispose()
  })
  placeBase(engine, tinyBase())
  const learner = learnersOn(engine)
  return {
    learner,
    async run(
      strategy: Strategy,
      overrides: Partial<FederationInit> = {},
    ): Promise<{ result: FederationResult; states: FederationState[] }> {
      const states: FederationState[] = []
      const result = await runFederation({
        strategy,
        users: USERS,
        target: 'mixture',
        rounds: 3,
        seed: 42,
        batch: BATCH,
        context: CONTEXT,
        learner,
        from: undefined,
        save: async (state) => void states.push(state),
        onRound: () => undefined,
        onTest: () => undefined,
        signal: new AbortController().signal,
        ...overrides,
      })
      return { result, states }
    },
  }
}

function learnersOn(engine: Engine): FederationInit['learner'] {
  const made = new Map<string, Learner>()
  const { weightDecay, balance } = PAPER
  return (mixture, batch, leaky = false) => {
    const key = JSON.stringify([mixture, batch, leaky])
    const options = { mixture, batch, context: CONTEXT, weightDecay, balance, leaky }
    const found = made.get(key) ?? createLearner(engine, tinyBase(), options)
    made.set(key, found)
    return found
  }
}
