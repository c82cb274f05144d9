import type { MemoryPlan } from '@comigs/model'
import { constrainedMemory, memoryUsage } from 'node:process'
import { freemem } from 'node:os'
import type { TrainingHost } from './training/training-host.ts'

export interface MemoryCheck {
  /** In bytes. */
  readonly needed: number
  readonly available: number
  /** Both in words, with what the first is made of. */
  readonly found: string
  /** What to change, where it does not fit. */
  readonly advice?: string
}

/** Whether training by a plan fits into what this machine has free, and what would if it does not. */
export async function checkMemory(
  training: Pick<TrainingHost, 'estimateMemory'>,
  base: string,
  plan: MemoryPlan,
): Promise<MemoryCheck> {
  // What this process has already is a part of what it needs.
  const available = Math.min(freemem() + memoryUsage.rss(), limit())
  const { estimate, fitting } = await training.estimateMemory(base, plan, available)
  const parts = `base ${megabytes(estimate.base)}, experts ${megabytes(estimate.trained)}, a step ${megabytes(estimate.step)}`
  const found = `${megabytes(available)} MB free, about ${megabytes(estimate.total)} MB needed (${parts})`
  const sizes = { needed: estimate.total, available, found }
  return estimate.total <= available ? sizes : { ...sizes, advice: adviceOf(plan, fitting) }
}

function adviceOf(plan: MemoryPlan, fitting: MemoryPlan | undefined): string {
  if (fitting === undefined) return 'close something, or take a smaller base or --context'
  const changed = [
    ['--base-dtype', plan.baseDtype, fitting.baseDtype],
    ['--batch', plan.batch, fitting.batch],
    ['--experts', plan.mixture.experts, fitting.mixture.experts],
  ].filter(([, before, after]) => before !== after)
  return `close something, or try ${changed.map(([flag, , after]) => `${flag} ${after}`).join(' ')}, which would fit`
}

const megabytes = (bytes: number): string => Math.ceil(bytes / 1e6).toLocaleString('en-US')

/** A container's limit; without one it is 0 or larger than any machine. */
function limit(): number {
  const bytes = constrainedMemory()
  return bytes > 0 ? bytes : Infinity
}
