import * as tf from '@tensorflow/tfjs-core'
import { defineOperator } from './operator.ts'

const run = defineOperator({
  kernel: 'comigs.Embedding',
  compose: ({ table, ids }) => tf.gather(table!, ids as tf.Tensor1D),
  gradient: {
    inputsToSave: ['ids', 'table'],
    gradFunc: (dy, saved) => ({
      table: () => runGrad({ dy: dy as tf.Tensor, ids: saved[0]! }, { rows: saved[1]!.shape[0] })[0]!,
    }),
  },
})

const runGrad = defineOperator({
  kernel: 'comigs.EmbeddingGrad',
  compose: ({ dy, ids }, { rows }) => tf.unsortedSegmentSum(dy!, ids as tf.Tensor1D, rows as number),
})

/**
 * Rows of a table.
 * @param table - `[V, C]`
 * @param ids - int32 `[N]`
 * @returns `[N, C]`, owned by the caller
 */
export function embedding(table: tf.Tensor2D, ids: tf.Tensor1D): tf.Tensor2D {
  return run({ table, ids })[0] as tf.Tensor2D
}
