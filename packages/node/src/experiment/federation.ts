import {
  EXPERTS,
  type Evaluation,
  type Learner,
  type LearnerState,
  learningRate,
  type MixtureConfig,
  type OnShare,
  type TokenSet,
} from '@comigs/model'
import { PAPER } from '../paper.ts'
import { joined, type User } from './data.ts'
import { average } from './merge.ts'
import { generalist, type Strategy } from './strategy.ts'
import { twofold, type UserLearner } from './twofold.ts'

/** What a user wants to be good at: its own kind of text, or everyone's. Decides what routers and weights learn from. */
export type Target = 'own' | 'mixture'

export interface Perplexities {
  /** On the user's own test text. */
  readonly own: number
  /** On everyone's. */
  readonly mixture: number
}

/** A look at validation text, means over users. */
export interface CurvePoint extends Perplexities {
  readonly round: number
  /** Cross entropy of the round's expert steps, nats per token. */
  readonly trainLoss: number
  /** Mean score that routers give the generalist, by layer; empty without routers. */
  readonly generalistShare: readonly number[]
}

export interface FederationResult {
  readonly users: readonly (Perplexities & { readonly name: string })[]
  readonly curve: readonly CurvePoint[]
  /** Sent by a user in a round. */
  readonly bytesPerRound: number
}

/** All that a run needs to go on. */
export interface FederationState {
  readonly round: number
  readonly models: readonly LearnerState[]
  /** Of the merge. */
  readonly memory: readonly Float32Array[]
  readonly curve: readonly CurvePoint[]
  readonly bytesPerRound: number
}

export interface FederationInit {
  readonly strategy: Strategy
  readonly users: readonly User[]
  readonly target: Target
  readonly rounds: number
  readonly seed: number
  /** Sequences in a batch and tokens of a sequence. */
  readonly batch: number
  readonly context: number
  /** A learner of this shape; the same one whenever it is asked for again. */
  learner(mixture: MixtureConfig, batch: number, leaky?: boolean): Learner
  readonly from: FederationState | undefined
  save(state: FederationState): Promise<void>
  onRound(round: number, trainLoss: number): void
  /** How much of the test is done, from 0 to 1. */
  onTest(share: number): void
  readonly signal: AbortSignal
}

/** Test text of a model: enough that a mean over users is known to about a percent, at half a minute a federation. */
const TEST_TOKENS = 65_536
/** Validation text of a point on a curve, and of a look that a merge takes. */
const LOOK_TOKENS = 16_384
/** A point on the curves after each router phase. */
const LOOK_EVERY = PAPER.routerEvery / PAPER.localSteps
/** Users of a seed draw from seeds of their own, apart from those of other seeds. */
const SEEDS_APART = 1000

/**
 * A federation in one process: the rounds of a peer (`round.ts`), all users in step, over a network that loses nothing.
 * @throws the signal's reason: between two users, or two batches of an evaluation. The round is lost, and done again later.
 */
export async function runFederation(init: FederationInit): Promise<FederationResult> {
  const { strategy, users, seed, rounds, signal } = init
  const isOne = strategy.pooled === true || strategy.trains === 'nothing'
  const learners = (isOne ? users.slice(0, 1) : users).map((_, user): UserLearner => {
    const learner = init.learner(strategy.mixture(user), init.batch, strategy.leaky)
    return stoppable(strategy.twofold ? twofold(learner) : learner, signal)
  })
  const trainSets = strategy.pooled
    ? [joined(users.map(({ train }) => train))]
    : users.map(({ train }) => train)
  const all = (split: 'valid' | 'test') => joined(users.map((user) => user[split]))
  const [mixedValid, mixedTest] = [all('valid'), all('test')]
  const targetValid = (user: number) => (init.target === 'own' ? users[user]!.valid : mixedValid)

  const schedule = { kind: 'cosine', rate: PAPER.rate, steps: rounds * PAPER.localSteps } as const
  const seedOf = (user: number) => SEEDS_APART * seed + user
  const isCommon = (name: string) => generalist(name) || strategy.shares(name)
  const shared = learners.map((learner) => sharedPart(learner, strategy))
  const layouts = shared.map(({ entries }) => entries)
  const drawn = learners.map((learner, user) => learner.initial(seedOf(user), SEEDS_APART * seed, isCommon))
  const begun = strategy.begins?.({ vectors: drawn.map((model, i) => shared[i]!.of(model)), layouts })
  const start = begun === undefined ? drawn : drawn.map((model, i) => shared[i]!.replaced(model, begun[i]!))
  const initial = shared[0]!.of(start[0]!)
  const batches = (tokens: number) => Math.ceil(tokens / (init.batch * init.context))
  const validationLoss = async (user: number, state: LearnerState): Promise<number> =>
    (await learners[user]!.evaluate(state, targetValid(user), batches(LOOK_TOKENS))).loss

  let state: FederationState = init.from ?? {
    round: 0,
    models: start,
    memory: [],
    curve: [],
    bytesPerRound: 0,
  }
  while (state.round < rounds && strategy.trains !== 'nothing') {
    const round = state.round + 1

    // 1. Everyone trains.
    const models: LearnerState[] = []
    let trainLoss = 0
    for (const [user, model] of state.models.entries()) {
      const learner = strategy.pooled
        ? stoppable(init.learner(strategy.mixture(user), init.batch * users.length), signal)
        : learners[user]!
      const trained = await learner.train(model, {
        trains: strategy.trains,
        set: trainSets[user]!,
        steps: PAPER.localSteps,
        rate: (step) => learningRate(schedule, step),
        seed: seedOf(user),
        batches: 'train',
        frozen: strategy.frozen,
      })
      models.push(trained.state)
      trainLoss += trained.loss / state.models.length
    }

    // 2. What they share goes to the others, and comes back merged.
    let { memory, bytesPerRound } = state
    if (initial.length > 0 && models.length > 1) {
      const merged = await (strategy.merge ?? average)({
        vectors: models.map((model, user) => shared[user]!.of(model)),
        initial,
        layouts,
        memory,
        round,
        isLast: round === rounds,
        seed,
        validationLoss: (user, vector) => validationLoss(user, shared[user]!.replaced(models[user]!, vector)),
      })
      merged.vectors.forEach((vector, user) => (models[user] = shared[user]!.replaced(models[user]!, vector)))
      memory = merged.memory ?? []
      bytesPerRound = merged.bytes
    }

    // 3. When due, the routers.
    if (strategy.routers !== undefined && (round * PAPER.localSteps) % PAPER.routerEvery === 0) {
      for (const [user, model] of models.entries()) {
        const onTrain = strategy.routers === 'train'
        const trained = await learners[user]!.train(model, {
          trains: 'routers',
          set: onTrain ? trainSets[user]! : targetValid(user),
          steps: PAPER.routerSteps,
          rate: () => PAPER.routerRate,
          seed: seedOf(user),
          batches: onTrain ? 'router on train' : 'valid',
        })
        models[user] = trained.state
      }
    }

    // 4. When due, a look.
    let { curve } = state
    if (round % LOOK_EVERY === 0 || round === rounds) {
      const looks = await measure(learners, models, mixedValid, batches(LOOK_TOKENS))
      curve = [...curve, pointOf(round, trainLoss, users, looks)]
    }
    state = { round, models, memory, curve, bytesPerRound }
    await init.save(state)
    init.onRound(round, trainLoss)
  }
  init.onTest(0)
  const tests = await measure(learners, state.models, mixedTest, batches(TEST_TOKENS), init.onTest)
  const { curve, bytesPerRound } = state
  return { users: perplexities(users, tests), curve, bytesPerRound }
}

/** Throws the signal's reason where it would begin something, and between the batches of an evaluation. */
function stoppable(learner: UserLearner, signal: AbortSignal): UserLearner {
  return {
    ...learner,
    train: async (state, phase) => {
      signal.throwIfAborted()
      return learner.train(state, phase)
    },
    evaluate: (state, set, maxBatches, onShare) =>
      learner.evaluate(state, set, maxBatches, (share) => {
        signal.throwIfAborted()
        onShare?.(share)
      }),
  }
}

/** The part of a model's parameters that a strategy shares, as a flat vector of its own. */
function sharedPart(learner: UserLearner, strategy: Strategy) {
  const picked = learner.layout.experts.entries.filter(({ name }) => strategy.shares(name))
  let size = 0
  const entries = picked.map((entry) => ({
    name: entry.name,
    shape: entry.shape,
    size: entry.size,
    offset: (size += entry.size) - entry.size,
    at: entry.offset,
  }))
  return {
    entries,
    of(state: LearnerState): Float32Array {
      const vector = new Float32Array(size)
      for (const { at, offset, size } of entries)
        vector.set(state.arrays[EXPERTS]!.subarray(at, at + size), offset)
      return vector
    },
    replaced(state: LearnerState, vector: Float32Array): LearnerState {
      const experts = state.arrays[EXPERTS]!.slice()
      for (const { at, offset, size } of entries) experts.set(vector.subarray(offset, offset + size), at)
      return { ...state, arrays: { ...state.arrays, [EXPERTS]: experts } }
    },
  }
}

async function measure(
  learners: readonly UserLearner[],
  models: readonly LearnerState[],
  set: TokenSet,
  maxBatches: number,
  onShare?: OnShare,
): Promise<Evaluation[]> {
  const results: Evaluation[] = []
  for (const [user, model] of models.entries()) {
    const tell = onShare && ((share: number) => onShare((user + share) / models.length))
    results.push(await learners[user]!.evaluate(model, set, maxBatches, tell))
  }
  return results
}

/** Of each user; one evaluation serves all where there is one model. */
function perplexities(users: readonly User[], evaluations: readonly Evaluation[]): FederationResult['users'] {
  return users.map(({ name }, user) => {
    const { perplexity: mixture, groups } = evaluations[user] ?? evaluations[0]!
    return { name, own: groups.find((group) => group.name === name)!.perplexity, mixture }
  })
}

function pointOf(
  round: number,
  trainLoss: number,
  users: readonly User[],
  looks: readonly Evaluation[],
): CurvePoint {
  const of = perplexities(users, looks)
  return {
    round,
    trainLoss,
    own: meanOf(of.map(({ own }) => own)),
    mixture: meanOf(of.map(({ mixture }) => mixture)),
    generalistShare: looks[0]!.routerScores.map((_, layer) =>
      meanOf(looks.map(({ routerScores }) => routerScores[layer]![0]!)),
    ),
  }
}

export const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length
