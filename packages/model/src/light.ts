/** The parts without tensors: all that a process, or a thread, that does not compute may import. */
export { type BaseHashes, hashBase } from './base.ts'
export { reasonOf } from './files.ts'
export { readConfig } from './hub-config.ts'
export { loraScale, type MixtureConfig, type ModelConfig } from './config.ts'
export { AUTO_ENGINES, ENGINES } from './engine/engine.ts'
export { forbidTelemetry } from './engine/no-telemetry.ts'
export { trainedLayout } from './parameters.ts'
export { type RandomStream, stream } from './random.ts'
