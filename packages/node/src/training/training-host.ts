import type {
  BaseDtype,
  BaseHashes,
  DataSource,
  Decoder,
  Engine,
  EngineName,
  Evaluation,
  GeneratedToken,
  MemoryEstimate,
  MemoryPlan,
  MixtureConfig,
  ModelConfig,
  OnShare,
  PhaseResult,
  Schedule,
  SplitName,
} from '@comigs/model'
import {
  createDecoder,
  createTrainer,
  decodeCheckpoint,
  encodeCheckpoint,
  estimateMemory,
  evaluate,
  evaluationStep,
  fittingPlan,
  generate,
  initialShared,
  loadBase,
  loadTokenizer,
  NO_EXPERTS,
  openBase,
  placeBase,
  readSplits,
  requireSequence,
  SPLITS,
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
import { PAPER } from '../paper.ts'
import { createTurns } from './turns.ts'

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

export interface MemoryReport {
  readonly estimate: MemoryEstimate
  /** Undefined when nothing fits. */
  readonly fitting: MemoryPlan | undefined
}

export interface PrepareOptions {
  readonly mixture: MixtureConfig
  readonly batch: number
  readonly context: number
  readonly schedule: Schedule
  readonly sharedSeed: number
  readonly seed: number
}

/** The model with this peer's experts, or the base alone. */
export type TextModel = 'personal' | 'base'

export interface GenerateRequest {
  readonly model: TextModel
  readonly prompt: string
  readonly maxTokens: number
  readonly temperature: number
  readonly topK?: number | undefined
  readonly topP?: number | undefined
  readonly stop?: readonly string[] | undefined
  readonly seed: number
}

/** What a checkpoint holds beside the trainer's state. */
export interface CheckpointParts {
  readonly extra: Readonly<Record<string, string>>
  /** Of momentum between rounds, as long as the shared vector. */
  readonly velocity?: Float32Array | undefined
}

/** Its array's name. */
const VELOCITY = 'velocity'

/** Characters between two messages of progress: about a tenth of a second. */
const TELL_EVERY = 100_000

const NO_TEXT: TokenSet = { tokens: new Int32Array(), groups: [] }

/** Everything that computes, behind one door: lives in a worker thread, so that the network never waits for a step. */
export class TrainingHost {
  /** As training sees it, and as texts see it. */
  #engine!: Engine
  #textEngine!: Engine
  #base!: BaseModel
  #tokenizer!: Tokenizer
  #data: Record<SplitName, TokenSet> = { train: NO_TEXT, valid: NO_TEXT, test: NO_TEXT }
  #options!: PrepareOptions
  #trainer!: Trainer
  #baseProgram: Promise<Program> | undefined
  readonly #decoders = new Map<TextModel, Decoder>()
  /** Texts being written, so that they can be cancelled. */
  readonly #texts = new Map<number, AbortController>()

  /** Ends this thread between two computations; whoever ends it within one crashes the process. */
  end(): void {
    process.exit()
  }

  /** Engine, base and tokenizer. */
  async load(options: LoadOptions): Promise<LoadReport> {
    const { engine, reason } = await selectEngine(options)
    const turns = createTurns(() => performance.now())
    this.#engine = turns.share(engine, 'training')
    this.#textEngine = turns.share(engine, 'text')
    this.#base = await loadBase(options.base)
    this.#tokenizer = await loadTokenizer(options.base)
    placeBase(engine, this.#base, options.baseDtype)
    const { config: model, hashes } = this.#base
    return { engine: engine.name, device: engine.device, reason, model, hashes }
  }

  /**
   * What training will take, and, where that is more than there is, the nearest plan that fits. Can be asked before all
   * else: of the base only the headers are read.
   */
  async estimateMemory(folder: string, plan: MemoryPlan, available: number): Promise<MemoryReport> {
    const base = await openBase(folder)
    const estimate = estimateMemory(base, plan)
    return { estimate, fitting: estimate.total <= available ? plan : fittingPlan(base, plan, available) }
  }

  /**
   * Reads and tokenises the user's text.
   * @param onProgress - characters that are tokens by now, of all
   * @returns tokens by split
   */
  async loadData(
    source: DataSource,
    context: number,
    onProgress?: (done: number, total: number) => void | Promise<void>,
  ): Promise<Record<SplitName, number>> {
    let done = 0
    let told = 0
    let heard = Promise.resolve()
    try {
      const splits = await readSplits(source)
      const documents = SPLITS.flatMap((split) => splits[split].flatMap((group) => group.documents))
      const total = documents.reduce((sum, { text }) => sum + text.length, 0)
      const tell = (characters: number) => {
        done += characters
        if (done - told < TELL_EVERY) return
        told = done
        heard = Promise.resolve(onProgress?.(done, total))
      }
      const tokens = (split: SplitName): TokenSet => {
        const set = tokenize(splits[split], this.#tokenizer, tell)
        requireSequence(split, set.tokens.length, context)
        return set
      }
      this.#data = { train: tokens('train'), valid: tokens('valid'), test: tokens('test') }
      await heard // what is told later would be told of what comes next
    } finally {
      release(onProgress)
    }
    const { train, valid, test } = this.#data
    return { train: train.tokens.length, valid: valid.tokens.length, test: test.tokens.length }
  }

  /** Creates the parameters. @returns y(0), the shared vector's initial value */
  async prepare(options: PrepareOptions): Promise<Float32Array> {
    this.#options = options
    this.#trainer = await createTrainer(this.#engine, this.#base, this.#data, {
      ...options,
      routerRate: PAPER.routerRate,
      weightDecay: PAPER.weightDecay,
      balance: PAPER.balance,
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

  /** A look at a few batches that the learning rate does not hear of. */
  async validationLoss(maxBatches: number): Promise<number> {
    return (await this.#trainer.evaluate(this.#data.valid, maxBatches)).loss
  }

  /**
   * Both models on all of the test text.
   * @param onShare - how much is done, from 0 to 1
   */
  async test(onShare: (share: number) => void | Promise<void>): Promise<Record<TextModel, Evaluation>> {
    let heard = Promise.resolve()
    const half = (from: number) => (share: number) => {
      heard = Promise.resolve(onShare(from + share / 2))
    }
    try {
      const base = await this.evaluateBase('test', Infinity, half(0))
      const personal = await this.#trainer.evaluate(this.#data.test, Infinity, half(0.5))
      await heard
      return { personal, base }
    } finally {
      release(onShare)
    }
  }

  /** The base alone, for comparison. */
  async evaluateBase(split: SplitName, maxBatches?: number, onShare?: OnShare): Promise<Evaluation> {
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
    const of = { batch, context, experts: 0 }
    return evaluate(await this.#baseProgram, this.#data[split], of, maxBatches, onShare)
  }

  async shared(): Promise<Float32Array> {
    return transferred(await this.#trainer.shared())
  }

  addShared(increment: Float32Array): Promise<void> {
    return this.#trainer.addShared(increment)
  }

  /** The whole state as the bytes of a checkpoint file, and what the caller has beside it. */
  async checkpoint({ extra, velocity }: CheckpointParts): Promise<Uint8Array> {
    const { counters, arrays } = await this.#trainer.save()
    const more =
      velocity === undefined ? [] : [{ name: VELOCITY, shape: [velocity.length], values: velocity }]
    const bytes = encodeCheckpoint({ counters, arrays: [...arrays, ...more] }, extra)
    return Comlink.transfer(bytes, [bytes.buffer as ArrayBuffer])
  }

  /** @returns the caller's own parts of the checkpoint */
  restore(bytes: Uint8Array, path: string): CheckpointParts {
    const { state, extra } = decodeCheckpoint(bytes, path)
    this.#trainer.restore(state, path)
    return { extra: { ...extra }, velocity: state.arrays.find(({ name }) => name === VELOCITY)?.values }
  }

  /** The caller's own part of a checkpoint, without restoring it. */
  inspect(bytes: Uint8Array, path: string): Record<string, string> {
    return { ...decodeCheckpoint(bytes, path).extra }
  }

  /** Of a prompt, with the mark that begins it. */
  countTokens(text: string): number {
    return this.#tokenizer.encodeDocument(text).length
  }

  /**
   * Calls `onToken` with each token as it is made, all of them before this returns. Training goes on between tokens, so
   * that a text may be ended by another model than began it.
   * @param id - to cancel it by
   */
  async generate(
    id: number,
    request: GenerateRequest,
    onToken: (token: GeneratedToken) => void | Promise<void>,
  ): Promise<void> {
    const controller = new AbortController()
    this.#texts.set(id, controller)
    let delivered: Promise<void> | undefined
    try {
      const tokens = generate(this.#decoder(request.model), this.#tokenizer, request.prompt, {
        ...request,
        random: stream(request.seed, 'generate'),
        signal: controller.signal,
      })
      for await (const token of tokens) {
        delivered = Promise.resolve(onToken(token))
        delivered.catch(() => {
          controller.abort() // whoever cannot hear it wants no more of it
        })
      }
      await delivered
    } finally {
      this.#texts.delete(id)
      release(onToken)
    }
  }

  cancel(id: number): void {
    this.#texts.get(id)?.abort()
  }

  #decoder(model: TextModel): Decoder {
    let decoder = this.#decoders.get(model)
    if (decoder === undefined) {
      const mixture = model === 'base' ? NO_EXPERTS : this.#options.mixture
      decoder = createDecoder(this.#textEngine, this.#base.config, mixture)
      this.#decoders.set(model, decoder)
    }
    return decoder
  }
}

/** Each callback from another thread came with a port of its own. */
function release(callback: unknown): void {
  ;(callback as Partial<Comlink.ProxyMethods> | undefined)?.[Comlink.releaseProxy]?.()
}

function transferred(values: Float32Array): Float32Array {
  return Comlink.transfer(values, [values.buffer as ArrayBuffer])
}
