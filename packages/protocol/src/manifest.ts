import canonicalize from 'canonicalize'
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { ProtocolError } from './errors.ts'
import { LIMITS } from './limits.ts'

/** Version of everything in docs/PROTOCOL.md. Peers of different versions refuse each other. */
export const PROTOCOL_VERSION = 1

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hex')
export const LONGEST_NAME = 64

/** Shown on terminals and in logs, and it may come from a peer: no escape sequences. */
const name = z
  .string()
  .min(1)
  .max(LONGEST_NAME)
  .regex(/^\P{Cc}+$/u, 'must not hold control characters')
const positive = z.number().int().positive()

/** Below, a value waits for a thousand rounds; above, the indices cost what leaving values out saves. */
export const SMALLEST_SHARE = 0.001
export const LARGEST_SHARE = 0.5
/** Less is none; with more, x has moved on for ten rounds before it hears that it was wrong. */
export const SMALLEST_MOMENTUM = 0.01
export const LARGEST_MOMENTUM = 0.9

const manifestSchema = z.strictObject({
  /** Protocol version. */
  comigs: z.literal(PROTOCOL_VERSION),
  /** For people. */
  name,
  /** The frozen base that all share: hashes of its files. */
  base: z.strictObject({
    name,
    weights: sha256,
    config: sha256,
    tokenizer: sha256,
  }),
  /** LoRA on attention and MLP linears; its shape decides what is shared. */
  lora: z.strictObject({ rank: positive.max(256), alpha: z.number().positive() }),
  /** Length of the flat vector that is gossiped: attention LoRA and generalist. */
  parameters: positive.max(LIMITS.parameters),
  /** Seeds the shared vector's initial value, y(0) of every peer. */
  seed: z.number().int().nonnegative().max(0xffffffff),
  /** Expert steps in a round, H. */
  localSteps: positive.max(100_000),
  /** Router phase every so many expert steps, tau; a multiple of localSteps. */
  routerEvery: positive.max(1_000_000),
  /** Router steps in a router phase, s. */
  routerSteps: positive.max(100_000),
  schedule: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('cosine'), rate: z.number().positive(), rounds: positive }),
    z.strictObject({ kind: z.literal('constant'), rate: z.number().positive(), warmupSteps: positive }),
  ]),
  /** How deltas are written down. */
  codec: z.strictObject({
    values: z.enum(['float32', 'float16', 'int8', 'int4']),
    /** Only this share of the values, those of largest magnitude; absent: all. */
    topK: z.number().min(SMALLEST_SHARE).max(LARGEST_SHARE).optional(),
  }),
  /** Whether what a neighbour says is bounded before it is mixed in. Off only where all peers are trusted. */
  robust: z.boolean(),
  /** Factor of Nesterov momentum on what a round's training moves the shared vector by; absent: none. */
  momentum: z.number().min(SMALLEST_MOMENTUM).max(LARGEST_MOMENTUM).optional(),
  /** Local differential privacy: a round's update is clipped to this norm, and noise of so many times it is added. */
  privacy: z.strictObject({ clip: z.number().positive(), noise: z.number().positive() }).optional(),
})

/** What defines a federation. Its hash names the topics and is the first thing two peers compare. */
export type Manifest = z.infer<typeof manifestSchema>

/**
 * Reads a manifest from outside.
 * @throws ProtocolError `MANIFEST_INVALID` naming the field
 */
export function parseManifest(value: unknown): Manifest {
  const parsed = manifestSchema.safeParse(value)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!
    const unknown = issue.code === 'unrecognized_keys' ? issue.keys.join(', ') : undefined
    const path = [...issue.path, ...(unknown === undefined ? [] : [unknown])].join('.')
    const field = printable(path) || '(manifest)'
    const reason =
      unknown === undefined ? `is wrong: ${issue.message.toLowerCase()}` : 'is not known to this version'
    throw new ProtocolError({ code: 'MANIFEST_INVALID', field, reason })
  }
  const manifest = parsed.data
  if (manifest.routerEvery % manifest.localSteps !== 0) {
    const reason = `must be a multiple of localSteps (${manifest.localSteps})`
    throw new ProtocolError({ code: 'MANIFEST_INVALID', field: 'routerEvery', reason })
  }
  return manifest
}

/** @throws ProtocolError `MANIFEST_INVALID` when the bytes are not such JSON */
export function decodeManifest(bytes: Uint8Array): Manifest {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw new ProtocolError(
      { code: 'MANIFEST_INVALID', field: '(manifest)', reason: 'is not JSON' },
      { cause: error },
    )
  }
  return parseManifest(value)
}

/** Canonical JSON (RFC 8785), the bytes that are hashed and sent. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  return new TextEncoder().encode(canonicalize(manifest))
}

/** SHA-256 of the canonical JSON, hex. */
export function manifestHash(manifest: Manifest): string {
  return createHash('sha256').update(encodeManifest(manifest)).digest('hex')
}

/**
 * @throws ProtocolError `MANIFEST_MISMATCH` naming the first field that differs
 */
export function requireSameManifest(ours: Manifest, theirs: Manifest): void {
  const difference = firstDifference(ours, theirs, [])
  if (difference !== undefined) throw new ProtocolError({ code: 'MANIFEST_MISMATCH', ...difference })
}

function firstDifference(
  ours: unknown,
  theirs: unknown,
  path: readonly string[],
): { field: string; ours: string; theirs: string } | undefined {
  if (isRecord(ours) && isRecord(theirs)) {
    for (const key of new Set([...Object.keys(ours), ...Object.keys(theirs)])) {
      const found = firstDifference(ours[key], theirs[key], [...path, key])
      if (found !== undefined) return found
    }
    return undefined
  }
  if (ours === theirs) return undefined
  const show = (value: unknown) => (value === undefined ? 'absent' : printable(JSON.stringify(value)))
  return { field: printable(path.join('.')), ours: show(ours), theirs: show(theirs) }
}

/** Of what a peer sent, as much as fits a line, and nothing that a terminal obeys. */
const printable = (text: string): string => text.slice(0, 100).replace(/\p{Cc}/gu, '?')

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null
