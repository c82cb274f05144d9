import type { RoundTrainer } from '../../../packages/node/src/round.ts'
import type { Clock, Random } from '../../../packages/protocol/src/index.ts'

/**
 * What peers learn in the simulator instead of a language model. The truth g is the same for all; the data of peer i
 * pull it to its own g + h_i, and every gradient is noisy. Alone a peer ends at g + h_i; together, where the h_i cancel,
 * they end at g. The loss is measured on the truth, as a test set would, so that it tells how much exchange is worth.
 */
export interface Problem {
  readonly initial: Float32Array
  readonly truth: Float32Array
  /** Where the data of a peer pull. */
  target(index: number): Float32Array
  /**
   * Cross entropy's stand-in: 1 nat that nobody can learn, and the squared distance to the truth, in units in which the
   * start costs 2 nats more and training alone half a nat more.
   */
  loss(x: Float32Array): number
}

const UNLEARNABLE = 1
const START_COSTS = 2
const ALONE_COSTS = 0.5

export function createProblem(parameters: number, gaussian: (stream: number) => () => number): Problem {
  const vector = (stream: number, scale: number) => {
    const next = gaussian(stream)
    return Float32Array.from({ length: parameters }, () => scale * next())
  }
  const initial = vector(0, 0.1)
  const way = vector(1, Math.sqrt(START_COSTS / parameters))
  const truth = initial.map((value, k) => value + way[k]!)
  return {
    initial,
    truth,
    target(index) {
      const own = vector(2 + index, Math.sqrt(ALONE_COSTS / parameters))
      return truth.map((value, k) => value + own[k]!)
    },
    loss(x) {
      return UNLEARNABLE + squaredDistance(x, truth)
    },
  }
}

function squaredDistance(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let k = 0; k < a.length; k++) sum += (a[k]! - b[k]!) ** 2
  return sum
}

export interface VectorTrainer extends RoundTrainer {
  readonly x: Float32Array
}

/** Share of the way to the target in a step, before the schedule. */
const RATE = 0.03
/** Of a gradient, relative to how far the targets are apart. */
const NOISE = 0.5

/** Gradient steps on a plain vector, with time passing as if they were work. */
export function createTrainer(init: {
  readonly problem: Problem
  readonly target: Float32Array
  readonly start: Float32Array
  readonly clock: Clock
  readonly stepMs: number
  /** Share of the full learning rate, now. */
  rate(): number
  readonly random: Random
}): VectorTrainer {
  const { problem, target, clock } = init
  const x = init.start.slice()
  const noise = NOISE * Math.sqrt(ALONE_COSTS / x.length)
  const evaluation = () => {
    const loss = problem.loss(x)
    return { loss, perplexity: Math.exp(loss), tokens: 1, groups: [], routerScores: [] }
  }
  return {
    x,
    async trainExperts(steps) {
      await clock.sleep(steps * init.stepMs)
      const rate = RATE * init.rate()
      for (let step = 0; step < steps; step++) {
        // Uniform noise of the wanted variance.
        for (let k = 0; k < x.length; k++)
          x[k]! += rate * (target[k]! - x[k]! + noise * Math.sqrt(12) * (init.random() - 0.5))
      }
      return { steps, loss: problem.loss(x), tokens: steps, learningRate: rate, routerScores: [] }
    },
    validationLoss: async () => UNLEARNABLE + squaredDistance(x, target),
    trainRouters: async () => undefined,
    evaluate: async () => evaluation(),
    shared: async () => x.slice(),
    async addShared(increment) {
      for (let k = 0; k < x.length; k++) x[k]! += increment[k]!
    },
  }
}
