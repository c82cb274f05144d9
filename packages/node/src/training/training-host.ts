import type {
  BaseDtype,
  BaseHashes,
  DataSource,
  Engine,
  EngineName,
  Evaluation,
  MixtureConfig,
  ModelConfig,
  PhaseResult,
  Schedule,
  SplitName,
} from '@comigs/model'
import {
  createTrainer,
  decodeCheckpoint,
  encodeCheckpoint,
  evaluate,
  evaluationStep,
  generate,
  initialShared,
  loadBase,
  loadTokenizer,
  nextTokenStep,
  NO_EXPERTS,
  placeBase,
  readSplits,
  requireSequence,
  selectEngine,
  stream,
  tokenize,
  type BaseModel,
  type Program,
  type Tokenizer,
  type TokenSet,
  type Trainer,
  trainedLayout,
} from '@comigs/model'
import * as Comlink from 'comlink'

export interface LoadOptions {
  readonly engine: EngineName | 'auto'
  readonly threads: number
  /** Hugging Face folder. */
  readonly base: string
  /** How the base's matrices are kept in memory. */
  readonly baseDtype: BaseDtype
}

export interface LoadReport {
  readonly engine: EngineName
  readonly device: string
  readonly reason: string
  readonly model: ModelConfig
  readonly hashes: BaseHashes
}

export interface PrepareOptions {
  readonly mixture: MixtureConfig
  readonly batch: number
  readonly context: number
  readonly schedule: Schedule
  readonly sharedSeed: number
  readonly seed: number
}

export interface GenerateRequest {
  readonly prompt: string
  readonly maxTokens: number
  readonly temperature: number
  readonly seed: number
}

/** Paper, appendix B, and the authors' scripts. */
const ROUTER_RATE = 2e-3
const WEIGHT_DECAY = 0.01
const BALANCE = 0.01

const NO_TEXT: TokenSet = { tokens: new Int32Array(), groups: [] }

/** Everything that computes, behind one door: lives in a worker thread, so that the network never waits for a step. */
export class TrainingHost {
  #engine!: Engine
  #base!: BaseModel
  #tokenizer!: Tokenizer
  #data: Record<SplitName, TokenSet> = { train: NO_TEXT, valid: NO_TEXT, test: NO_TEXT }
  #options!: PrepareOptions
  #trainer!: Trainer
  #baseProgram: Promise<Program> | undefined
  #nextToken: Promise<Program> | undefined

  /** Engine, base and tokenizer. */
  async load(options: LoadOptions): Promise<LoadReport> {
    const { engine, reason } = await selectEngine(options)
    this.#engine = engine
    this.#base = await loadBase(options.base)
    this.#tokenizer = await loadTokenizer(options.base)
    placeBase(engine, this.#base, options.baseDtype)
    const { config: model, hashes } = this.#base
    return { engine: engine.name, device: engine.device, reason, model, hashes }
  }

  /** Reads and tokenises the user's text. @returns tokens by split */
  async loadData(source: DataSource, context: number): Promise<Record<SplitName, number>> {
    const splits = await readSplits(source)
    const tokens = (split: SplitName): TokenSet => {
      const set = tokenize(splits[split], this.#tokenizer)
      requireSequence(split, set, context)
      return set
    }
    this.#data = { train: tokens('train'), valid: tokens('valid'), test: tokens('test') }
    const { train, valid, test } = this.#data
    return { train: train.tokens.length, valid: valid.tokens.length, test: test.tokens.length }
  }

  /** Creates the parameters. @returns y(0), the shared vector's initial value */
  async prepare(options: PrepareOptions): Promise<Float32Array> {
    this.#options = options
    this.#trainer = await createTrainer(this.#engine, this.#base, this.#data, {
      ...options,
      routerRate: ROUTER_RATE,
      weightDecay: WEIGHT_DECAY,
      balance: BALANCE,
    })
    return transferred(initialShared(this.#trainer.layout, options.sharedSeed))
  }

  trainExperts(steps: number): Promise<PhaseResult> {
    return this.#trainer.trainExperts(steps)
  }

  trainRouters(steps: number): Promise<PhaseResult | undefined> {
    return this.#trainer.trainRouters(steps)
  }

  async evaluate(split: SplitName, maxBatches?: number): Promise<Evaluation> {
    const result = await this.#trainer.evaluate(this.#data[split], maxBatches)
    if (split === 'valid') this.#trainer.observeValidation(result.loss)
    return result
  }

  /** The base alone, for comparison. */
  async evaluateBase(split: SplitName, maxBatches?: number): Promise<Evaluation> {
    const { batch, context } = this.#options
    const model = this.#base.config
    this.#baseProgram ??= this.#engine.compile(
      evaluationStep({
        model,
        mixture: NO_EXPERTS,
        layout: trainedLayout(model, NO_EXPERTS),
        batch,
        context,
      }),
    )
    return evaluate(await this.#baseProgram, this.#data[split], { batch, context, experts: 0 }, maxBatches)
  }

  async shared(): Promise<Float32Array> {
    return transferred(await this.#trainer.shared())
  }

  addShared(increment: Float32Array): Promise<void> {
    return this.#trainer.addShared(increment)
  }

  /** The whole state as the bytes of a checkpoint file. */
  async checkpoint(extra: Record<string, string>): Promise<Uint8Array> {
    const bytes = encodeCheckpoint(await this.#trainer.save(), extra)
    return Comlink.transfer(bytes, [bytes.buffer as ArrayBuffer])
  }

  /** @returns the caller's own part of the checkpoint */
  restore(bytes: Uint8Array, path: string): Record<string, string> {
    const { state, extra } = decodeCheckpoint(bytes, path)
    this.#trainer.restore(state, path)
    return { ...extra }
  }

  /** The caller's own part of a checkpoint, without restoring it. */
  inspect(bytes: Uint8Array, path: string): Record<string, string> {
    return { ...decodeCheckpoint(bytes, path).extra }
  }

  /** Calls `onText` with each piece of text as it is made. */
  async generate(request: GenerateRequest, onText: (text: string) => void): Promise<void> {
    const { mixture } = this.#options
    const model = this.#base.config
    const context = model.positions
    this.#nextToken ??= this.#engine.compile(
      nextTokenStep({ model, mixture, layout: this.#trainer.layout, context }),
    )
    const tokens = generate(
      await this.#nextToken,
      this.#tokenizer,
      { ...model, experts: mixture.experts },
      context,
      request.prompt,
      { ...request, random: stream(request.seed, 'generate') },
    )
    for await (const { text } of tokens) onText(text)
  }
}

function transferred(values: Float32Array): Float32Array {
  return Comlink.transfer(values, [values.buffer as ArrayBuffer])
}
