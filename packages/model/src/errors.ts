/** Everything that can go wrong in this package, by code. Callers branch on `detail.code`, never on text. */
export type ModelErrorDetail =
  | {
      readonly code: 'SHAPE_MISMATCH'
      readonly what: string
      readonly expected: string
      readonly actual: string
    }
  | { readonly code: 'KERNEL_UNSUPPORTED'; readonly kernel: string; readonly engine: string }
  | {
      readonly code: 'STORAGE_UNSUPPORTED'
      readonly kernel: string
      readonly input: string
      readonly storage: string
    }
  | { readonly code: 'ENGINE_UNAVAILABLE'; readonly engine: string; readonly reason: string }
  | { readonly code: 'VALUE_READ_WHILE_TRACING'; readonly step: string }
  | { readonly code: 'ARRAY_MISSING'; readonly name: string }
  | { readonly code: 'FILE_UNREADABLE'; readonly path: string; readonly reason: string }
  | { readonly code: 'SAFETENSORS_INVALID'; readonly path: string; readonly reason: string }
  | { readonly code: 'TENSOR_MISSING'; readonly path: string; readonly tensor: string }
  | { readonly code: 'TENSOR_UNEXPECTED'; readonly path: string; readonly tensor: string }
  | {
      readonly code: 'TENSOR_NON_FINITE'
      readonly path: string
      readonly tensor: string
      readonly index: number
    }
  | {
      readonly code: 'CONFIG_INVALID'
      readonly path: string
      readonly field: string
      readonly reason: string
    }
  | { readonly code: 'ARCHITECTURE_UNSUPPORTED'; readonly path: string; readonly architecture: string }
  | { readonly code: 'DATA_MISSING'; readonly path: string; readonly reason: string }
  | { readonly code: 'DATA_EMPTY'; readonly path: string }
  | { readonly code: 'DATA_BINARY'; readonly path: string; readonly offset: number }
  | { readonly code: 'DATA_MALFORMED'; readonly path: string; readonly line: number; readonly reason: string }
  | {
      readonly code: 'DATA_TOO_SHORT'
      readonly split: string
      readonly tokens: number
      readonly neededTokens: number
    }
  | { readonly code: 'CHECKPOINT_INVALID'; readonly path: string; readonly reason: string }
  | { readonly code: 'LOSS_NON_FINITE'; readonly phase: string; readonly step: number }
  | {
      readonly code: 'OPTION_INVALID'
      readonly option: string
      readonly value: string
      readonly expected: string
    }

/** The one error class of @comigs/model: a message for people, a `detail` for programs. */
export class ModelError extends Error {
  override readonly name = 'ModelError'
  readonly detail: ModelErrorDetail

  constructor(detail: ModelErrorDetail, options?: ErrorOptions) {
    super(render(detail), options)
    this.detail = detail
  }
}

function render(d: ModelErrorDetail): string {
  switch (d.code) {
    case 'SHAPE_MISMATCH':
      return `${d.what}: expected shape ${d.expected}, got ${d.actual}`
    case 'KERNEL_UNSUPPORTED':
      return `the ${d.engine} engine has no kernel "${d.kernel}"; write the step with operators it knows, or use another --engine`
    case 'STORAGE_UNSUPPORTED':
      return `kernel "${d.kernel}" cannot read its input "${d.input}" from ${d.storage}; keep that array in float32`
    case 'ENGINE_UNAVAILABLE':
      return `engine "${d.engine}" cannot be used here: ${d.reason}`
    case 'VALUE_READ_WHILE_TRACING':
      return `step "${d.step}" reads the value of a tensor while it is traced; return it as an output instead`
    case 'ARRAY_MISSING':
      return `no array named "${d.name}" in engine memory`
    case 'FILE_UNREADABLE':
      return `cannot read ${d.path}: ${d.reason}`
    case 'SAFETENSORS_INVALID':
      return `${d.path} is not a valid safetensors file: ${d.reason}`
    case 'TENSOR_MISSING':
      return `${d.path} has no tensor "${d.tensor}"; is it a checkpoint of this architecture?`
    case 'TENSOR_UNEXPECTED':
      return `${d.path}: tensor "${d.tensor}" has no place in this architecture; the model would not be the one that was saved`
    case 'TENSOR_NON_FINITE':
      return `${d.path}: tensor "${d.tensor}" holds a value that is not finite (element ${d.index})`
    case 'CONFIG_INVALID':
      return `${d.path}: field "${d.field}" ${d.reason}`
    case 'ARCHITECTURE_UNSUPPORTED':
      return `${d.path}: architecture "${d.architecture}" is not supported; supported: GPT2LMHeadModel (model_type "gpt2"), LlamaForCausalLM (model_type "llama")`
    case 'DATA_MISSING':
      return `no training text at ${d.path}: ${d.reason}`
    case 'DATA_EMPTY':
      return `${d.path} holds no text; give files or folders of .txt, .md, .html, .pdf, .jsonl, .csv, or .gz of these`
    case 'DATA_BINARY':
      return `${d.path} is not UTF-8 text (byte ${d.offset}); convert it, or give files or folders of .txt, .md, .html, .pdf, .jsonl, .csv, or .gz of these`
    case 'DATA_MALFORMED':
      return `${d.path}, line ${d.line}: ${d.reason}`
    case 'DATA_TOO_SHORT':
      return `the ${d.split} split has ${d.tokens} tokens, but one sequence needs ${d.neededTokens}; give more text or a smaller --context`
    case 'CHECKPOINT_INVALID':
      return `checkpoint ${d.path} cannot be used: ${d.reason}`
    case 'LOSS_NON_FINITE':
      return `the ${d.phase} loss became non-finite at step ${d.step}; lower the learning rate or check the data`
    case 'OPTION_INVALID':
      return `${d.option} is ${d.value}, expected ${d.expected}`
  }
}
