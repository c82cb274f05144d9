import type { ModelConfig } from '../config.ts'
import { adaptedLinears, type AdaptedLinear, type NamedArray } from '../parameters.ts'
import { loraOf, type TrainedModel } from './trained-model.ts'

/** A LoRA as Hugging Face's PEFT keeps it: `adapter_config.json` and `adapter_model.safetensors`. */
export interface PeftAdapter {
  readonly name: string
  readonly config: Readonly<Record<string, unknown>>
  readonly arrays: readonly NamedArray[]
}

/** What a base is called on the Hugging Face hub. */
export interface HubName {
  /** `owner/name`. */
  readonly name: string
  /** A branch, tag or commit; else `main`. */
  readonly revision?: string | undefined
}

/**
 * `attention`, and each expert's MLP as `generalist`, `specialist-1`, ...: parts that do not overlap. And each expert with
 * attention, as `attention+generalist`, ...: the base with one of these is our model with that expert chosen.
 * @param base - what PEFT is told that the adapters belong to
 */
export function peftAdapters(trained: TrainedModel, base: HubName | null): PeftAdapter[] {
  const linears = adaptedLinears(trained.model)
  const attention = linears.filter(({ part }) => part === 'attention')
  const mlp = linears.filter(({ part }) => part === 'mlp')
  const experts = Array.from({ length: trained.mixture.experts }, (_, expert) => ({
    expert,
    name: expert === 0 ? 'generalist' : `specialist-${expert}`,
  }))
  const adapter = (name: string, linears: readonly AdaptedLinear[], expert: number): PeftAdapter => ({
    name,
    config: configOf(trained, linears, base),
    arrays: linears.flatMap(({ module, lora }) => {
      const { a, b } = loraOf(trained, lora(expert))
      const prefix = `base_model.model.${PREFIX[trained.model.architecture]}${module}`
      return [transposed(a, `${prefix}.lora_A.weight`), transposed(b, `${prefix}.lora_B.weight`)]
    }),
  })
  return [
    adapter('attention', attention, 0),
    ...experts.map(({ name, expert }) => adapter(name, mlp, expert)),
    ...experts.map(({ name, expert }) => adapter(`attention+${name}`, linears, expert)),
  ]
}

/** Of the body within the whole model, which our names for GPT-2 leave out. */
const PREFIX: Readonly<Record<ModelConfig['architecture'], string>> = { gpt2: 'transformer.', llama: '' }

function configOf({ model, mixture }: TrainedModel, linears: readonly AdaptedLinear[], base: HubName | null) {
  // `attn.c_proj`: GPT-2 has one in attention and one in the MLP.
  const names = linears.map(({ module }) => module.split('.').slice(-2).join('.'))
  return {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: base?.name ?? null,
    ...(base?.revision === undefined ? {} : { revision: base.revision }),
    inference_mode: true,
    r: mixture.rank,
    lora_alpha: mixture.alpha,
    use_rslora: true, // scale alpha / sqrt(r)
    lora_dropout: 0,
    bias: 'none',
    fan_in_fan_out: model.architecture === 'gpt2', // its Conv1D keeps weights as [in, out]
    target_modules: [...new Set(names)],
  }
}

/** PEFT's A is [r, in], its B [out, r]. */
function transposed({ shape, values }: NamedArray, name: string): NamedArray {
  const [rows, columns] = shape as [number, number]
  const turned = new Float32Array(values.length)
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) turned[j * rows + i] = values[i * columns + j]!
  return { name, shape: [columns, rows], values: turned }
}
