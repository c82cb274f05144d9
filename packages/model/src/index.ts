export { type BaseHashes, type BaseModel, hashBase, loadBase, openBase } from './base.ts'
export { hubConfig, readConfig } from './hub-config.ts'
export { DEFAULT_MIXTURE, loraScale, type MixtureConfig, type ModelConfig } from './config.ts'
export {
  type DataSource,
  readSplits,
  readText,
  requireSequence,
  type SplitName,
  SPLITS,
  type TextOfUser,
  tokenize,
  type TokenSet,
} from './data.ts'
export {
  AUTO_ENGINES,
  type Engine,
  type EngineName,
  ENGINES,
  type HostTensor,
  type Program,
  type Step,
} from './engine/engine.ts'
export { forbidTelemetry } from './engine/no-telemetry.ts'
export { type EngineOptions, selectEngine, type SelectedEngine } from './engine/select.ts'
export { ModelError, type ModelErrorDetail } from './errors.ts'
export { estimateMemory, fittingPlan, type MemoryEstimate, type MemoryPlan } from './memory-estimate.ts'
export { mergedArrays } from './export/merged.ts'
export { decodeMixture, encodeMixture, type MixtureFile, resumedState } from './export/mixture-file.ts'
export { type HubName, type PeftAdapter, peftAdapters } from './export/peft.ts'
export { type TrainedModel, trainedModel, withOneExpert } from './export/trained-model.ts'
export { evaluate, type Evaluation, type OnShare } from './evaluate.ts'
export {
  createLearner,
  type Learner,
  type LearnerOptions,
  type LearnerPhase,
  type LearnerState,
} from './learner.ts'
export {
  baseLayout,
  type Layout,
  type NamedArray,
  namedArrays,
  trainedLayout,
  type TrainedLayout,
} from './parameters.ts'
export { createPretrainer, type Pretrainer, type PretrainOptions } from './pretrain.ts'
export { readSafetensors, safetensorsPieces, writeSafetensors } from './safetensors.ts'
export { learningRate, type Schedule } from './schedule.ts'
export { evaluationStep, EXPERTS, expertStep, NO_EXPERTS, routerStep } from './steps.ts'
export { loadTokenizer, type Tokenizer } from './tokenizer.ts'
export {
  createTrainer,
  initialShared,
  type PhaseResult,
  type BaseDtype,
  BASE_DTYPES,
  placeBase,
  settledDtype,
  type Trainer,
  type TrainerOptions,
} from './trainer.ts'
export { decodeCheckpoint, encodeCheckpoint } from './checkpoint.ts'
export { createDecoder, type Decoder } from './decoder.ts'
export { generate, type GeneratedToken, type GenerateOptions } from './generate.ts'
export { stream, type RandomStream } from './random.ts'
