import { createHash } from 'node:crypto'
import {
  type Announcement,
  encodeSigned,
  type SignedAnnouncement,
  signAnnouncement,
} from '../../src/announcement.ts'
import { type CodecChoice, codecOf, type CodecName } from '../../src/codec/codec.ts'
import { type Manifest, manifestHash, PROTOCOL_VERSION } from '../../src/manifest.ts'
import type { Signer } from '../../src/wire.ts'

const digit = (d: string): string => d.repeat(64)

export const MANIFEST: Manifest = {
  comigs: PROTOCOL_VERSION,
  name: 'test',
  base: { name: 'tiny', weights: digit('a'), config: digit('b'), tokenizer: digit('c') },
  lora: { rank: 8, alpha: 16 },
  parameters: 64,
  seed: 1234,
  localSteps: 10,
  routerEvery: 30,
  routerSteps: 10,
  schedule: { kind: 'cosine', rate: 0.002, rounds: 20 },
  codec: { values: 'int8' },
  robust: false,
}

export const manifestFor = (
  parameters: number,
  codec: CodecName | CodecChoice,
  robust = false,
): Manifest => ({
  ...MANIFEST,
  parameters,
  codec: typeof codec === 'string' ? { values: codec } : { ...codec },
  robust,
})

export const federationBytes = (manifest: Manifest): Uint8Array =>
  new Uint8Array(Buffer.from(manifestHash(manifest), 'hex'))

export const sha256 = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha256').update(bytes).digest())

/** A vector as it is hashed and sent as a copy: float32, little-endian, written down independently of the codec. */
export function copyBytes(values: Float32Array): Uint8Array {
  const bytes = Buffer.alloc(4 * values.length)
  values.forEach((value, i) => bytes.writeFloatLE(value, 4 * i))
  return bytes
}

export const copyHash = (values: Float32Array): Uint8Array => sha256(copyBytes(values))

/** An announcement that is right in every field; tests spoil one. */
export function announcementOf(
  manifest: Manifest,
  author: string,
  fields: Partial<Announcement> = {},
): Announcement {
  return {
    version: PROTOCOL_VERSION,
    federation: federationBytes(manifest),
    author,
    epoch: 1_767_225_600,
    sequence: 1,
    round: 1,
    length: codecOf(manifest.codec).byteLength(manifest.parameters),
    payloadHash: new Uint8Array(32).fill(1),
    copyHash: new Uint8Array(32).fill(2),
    degree: 0,
    ...fields,
  }
}

export interface Forged {
  readonly signed: SignedAnnouncement
  readonly data: Uint8Array
}

export async function forge(announcement: Announcement, signer: Signer): Promise<Forged> {
  const signed = await signAnnouncement(announcement, signer)
  return { signed, data: encodeSigned(signed) }
}
