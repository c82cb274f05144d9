import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { freshEngine } from '../../packages/model/test/helpers/engines.ts'
import { DATA, mixtureOf, tinyTrainer } from '../../packages/model/test/helpers/models.ts'
import { memory, tell } from './memory.ts'

const STEPS = 2000
const STEPS_A_ROUND = 10
/** By when everything is compiled, pools are filled, and code is optimised. */
const WARM = 500

describe.each(['onnx', 'onnx-wasm'] as const)('training on %s', (name) => {
  it(`holds no more memory after ${STEPS} steps than after ${WARM}`, async () => {
    const trainer = await tinyTrainer(await freshEngine(name), mixtureOf(3))
    const rounds = async (from: number, to: number) => {
      for (let done = from; done < to; done += STEPS_A_ROUND) {
        await trainer.trainExperts(STEPS_A_ROUND / 2)
        await trainer.trainRouters(STEPS_A_ROUND / 2)
        await trainer.addShared((await trainer.shared()).fill(0))
        await trainer.evaluate(DATA.valid, 1)
        await trainer.save()
      }
    }
    await rounds(0, WARM)
    const before = { ...(await memory()), tensors: tf.memory().numTensors }
    tell(name, `${WARM} steps`, before)
    await rounds(WARM, STEPS)
    const after = { ...(await memory()), tensors: tf.memory().numTensors }
    tell(name, `${STEPS} steps`, after)
    expect(after.tensors).toBe(before.tensors)
    expect(after.heldMB - before.heldMB).toBeLessThan(2)
    // 1,500 leaked copies of the parameters would be 60 MB, of a batch's activations 400.
    expect(after.residentMB - before.residentMB).toBeLessThan(20)
  })
})
