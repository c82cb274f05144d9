import { layoutArrays } from '../checkpoint.ts'
import type { MixtureConfig, ModelConfig } from '../config.ts'
import { ModelError } from '../errors.ts'
import { adaptedLinears, type NamedArray, trainedLayout } from '../parameters.ts'
import { EXPERTS, ROUTER } from '../steps.ts'
import type { TrainerState } from '../trainer.ts'

/** What a peer has learnt, without what only learning needs. */
export interface TrainedModel {
  readonly model: ModelConfig
  readonly mixture: MixtureConfig
  /** LoRA and routers, under the names and in the order of `trainedLayout`. */
  readonly arrays: ReadonlyMap<string, NamedArray>
}

/**
 * Out of a trainer's state.
 * @param path - for error messages
 * @throws ModelError `CHECKPOINT_INVALID` when it is not of such a mixture on such a base
 */
export function trainedModel(
  model: ModelConfig,
  mixture: MixtureConfig,
  { arrays }: TrainerState,
  path: string,
): TrainedModel {
  const { experts, router } = trainedLayout(model, mixture)
  const found = [
    ...layoutArrays(experts, arrays, { prefix: `${EXPERTS}/`, path }),
    ...layoutArrays(router, arrays, { prefix: `${ROUTER}/`, path }),
  ]
  return { model, mixture, arrays: new Map(found.map((array) => [array.name, array])) }
}

/** The two matrices of a LoRA, A `[in, r]` and B `[r, out]`. */
export function loraOf({ arrays }: TrainedModel, name: string): { a: NamedArray; b: NamedArray } {
  return { a: arrays.get(`${name}.lora_A`)!, b: arrays.get(`${name}.lora_B`)! }
}

/**
 * The model with one expert chosen for every token: that expert as the only one, attention as it is, no router.
 * @throws ModelError `OPTION_INVALID`
 */
export function withOneExpert(trained: TrainedModel, expert: number): TrainedModel {
  const { model, mixture } = trained
  if (expert >= mixture.experts) {
    const expected = `at most ${mixture.experts - 1}: this model has ${mixture.experts}, the generalist is 0`
    throw new ModelError({ code: 'OPTION_INVALID', option: '--expert', value: String(expert), expected })
  }
  const arrays = adaptedLinears(model).flatMap(({ lora }) => {
    const { a, b } = loraOf(trained, lora(expert))
    return [
      { ...a, name: `${lora(0)}.lora_A` },
      { ...b, name: `${lora(0)}.lora_B` },
    ]
  })
  return {
    model,
    mixture: { ...mixture, experts: 1 },
    arrays: new Map(arrays.map((array) => [array.name, array])),
  }
}
