/** How the experts' learning rate moves with the peer's own step count. */
export type Schedule =
  /** Paper, appendix B: half a cosine from `rate` to a tenth of it, over `steps`. */
  | { readonly kind: 'cosine'; readonly rate: number; readonly steps: number }
  /** For a federation without an end: linear warm-up, then constant; the plateau factor comes on top. */
  | { readonly kind: 'constant'; readonly rate: number; readonly warmupSteps: number }

/** The authors' floor, only in their code: a tenth of the peak. */
const FLOOR = 0.1

/** @param step - steps already done, 0 for the first */
export function learningRate(schedule: Schedule, step: number): number {
  if (schedule.kind === 'constant') return schedule.rate * Math.min(1, (step + 1) / schedule.warmupSteps)
  const progress = Math.min(1, step / Math.max(1, schedule.steps - 1))
  return schedule.rate * (FLOOR + (1 - FLOOR) * 0.5 * (1 + Math.cos(Math.PI * progress)))
}

/** Halves the rate after `PATIENCE` evaluations without a better validation loss. */
export interface Plateau {
  readonly best: number
  readonly bad: number
  readonly factor: number
}

export const NO_PLATEAU: Plateau = { best: Infinity, bad: 0, factor: 1 }

const PATIENCE = 10
const SMALLEST_FACTOR = 1 / 64

export function observePlateau(plateau: Plateau, validationLoss: number): Plateau {
  if (validationLoss < plateau.best) return { ...plateau, best: validationLoss, bad: 0 }
  if (plateau.bad + 1 < PATIENCE) return { ...plateau, bad: plateau.bad + 1 }
  return { ...plateau, bad: 0, factor: Math.max(SMALLEST_FACTOR, plateau.factor / 2) }
}
