import type { CodecChoice } from './codec.ts'

export function safeGamma({ topK: share }: CodecChoice): number {
  return share === undefined ? 1 : share
}
