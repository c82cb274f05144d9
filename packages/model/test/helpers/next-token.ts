import * as tf from '@tensorflow/tfjs-core'
import { windowStart } from '../../src/decoder.ts'
import type { Program, Step } from '../../src/engine/engine.ts'
import { forward } from '../../src/forward.ts'
import { gemm } from '../../src/ops/gemm.ts'
import { baseLayout } from '../../src/parameters.ts'
import { baseArray, EXPERTS, ROUTER, type StepShape } from '../../src/steps.ts'

/**
 * What decoding is measured against: the whole text runs through the model again for every token. Logits `[1, V]` and
 * router scores `[layers, n]` of row `position`.
 */
export function nextTokenStep({
  model,
  mixture,
  layout,
  context,
}: Pick<StepShape, 'model' | 'mixture' | 'layout' | 'context'>): Step {
  const groups = [
    { key: EXPERTS, entries: layout.experts.entries },
    { key: ROUTER, entries: layout.router.entries },
  ].filter(({ entries }) => entries.length > 0)
  const baseNames = baseLayout(model).entries.map(({ name }) => name)
  return {
    name: 'next token',
    reads: [...baseNames.map(baseArray), ...groups.map(({ key }) => key)],
    writes: [],
    inputs: { tokens: { shape: [context], dtype: 'int32' }, position: { shape: [1], dtype: 'int32' } },
    build: (t) => {
      const find = (name: string): tf.Tensor => {
        const group = groups.find(({ entries }) => entries.some((entry) => entry.name === name))!
        const { offset, size, shape } = group.entries.find((entry) => entry.name === name)!
        return tf.reshape(tf.slice(t[group.key]!, [offset], [size]), [...shape])
      }
      const out = forward({
        model,
        mixture,
        base: (name) => t[baseArray(name)]!,
        trained: find,
        tokens: t['tokens'] as tf.Tensor1D,
        batch: 1,
      })
      const position = t['position'] as tf.Tensor1D
      const logits = gemm(tf.gather(out.hidden, position), out.head, { transposeB: true })
      if (out.routed.length === 0) return { logits }
      return { logits, scores: tf.concat(out.routed.map((one) => tf.gather(one.scores, position))) }
    },
  }
}

/** What a model that remembers nothing says after a text. @param program - of `nextTokenStep` */
export async function recomputed(program: Program, ids: readonly number[], positions: number) {
  const window = ids.slice(windowStart(ids.length, positions))
  const tokens = new Int32Array(positions)
  tokens.set(window)
  return program.run({ tokens, position: Int32Array.of(window.length - 1) })
}
