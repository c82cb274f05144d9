// How step.py is started.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { attentionPrefix, expertPrefix, routerName } from '../../../packages/model/dist/parameters.js'

const STEP = fileURLToPath(new URL('step.py', import.meta.url))

export const VARIANTS = ['authors', 'best', 'best-bf16']

/** @returns why there is no PyTorch, or undefined */
export function pythonProblem(python) {
  const { error, status, stderr } = spawnSync(python, ['-c', 'import torch'], { encoding: 'utf8' })
  if (error !== undefined) return `${python}: ${error.message}`
  return status === 0 ? undefined : `${python}: ${stderr.trim().split('\n').at(-1)}`
}

/** Our shape in its words: numbers, and the names of arrays by layer and expert. */
export function stepArguments(variant, { model, mixture, batch, context }, { threads, gpu }, extra = {}) {
  const layers = Array.from({ length: model.layers }, (_, layer) => layer)
  const experts = Array.from({ length: mixture.experts }, (_, e) => e)
  const shape = {
    ...model,
    ...mixture,
    batch,
    context,
    attentionPrefix: layers.map(attentionPrefix),
    expertPrefix: layers.map((layer) => experts.map((e) => expertPrefix(layer, e))),
    router: layers.map(routerName),
    ...extra,
  }
  const where = ['--threads', String(threads), '--device', gpu ? 'cuda' : 'cpu']
  return [STEP, '--variant', variant, ...where, '--shape', JSON.stringify(shape)]
}
