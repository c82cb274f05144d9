export { selectEngine } from './engine/select.ts'
export * from './config.ts'
export * from './parameters.ts'
export * from './steps.ts'
