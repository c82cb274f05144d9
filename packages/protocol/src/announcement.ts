import { concat } from 'uint8arrays/concat'
import { equals } from 'uint8arrays/equals'
import { ProtocolError } from './errors.ts'
import { LIMITS } from './limits.ts'
import { PROTOCOL_VERSION } from './manifest.ts'
import { Announcement, SignedAnnouncement } from './pb/messages.ts'
import type { Signer } from './wire.ts'

export type { Announcement, SignedAnnouncement } from './pb/messages.ts'

/** Signatures say what they are for, so that no other signed bytes can pass for an announcement. */
const DOMAIN = new TextEncoder().encode('comigs/announcement/1:')

export async function signAnnouncement(
  announcement: Announcement,
  signer: Signer,
): Promise<SignedAnnouncement> {
  const body = Announcement.encode(announcement)
  return { body, signature: await signer.sign(concat([DOMAIN, body])) }
}

/** Only the bounds of the bytes, the fields and the federation; no signature yet. */
export interface AnnouncementRules {
  /** Manifest hash, 32 bytes. */
  readonly federation: Uint8Array
  /** Largest payload that the federation's vector can make. */
  readonly maxPayloadBytes: number
}

/**
 * Decodes and checks an announcement from anywhere, signature excepted.
 * @throws ProtocolError `MESSAGE_MALFORMED`
 */
export function readAnnouncement(signed: SignedAnnouncement, rules: AnnouncementRules): Announcement {
  const malformed = (reason: string, cause?: unknown) =>
    new ProtocolError({ code: 'MESSAGE_MALFORMED', what: 'announcement', reason }, { cause })
  // One that comes with a copy or in a list was never measured as a message.
  if (signed.body.byteLength + signed.signature.byteLength > LIMITS.announcementBytes)
    throw malformed('too large')
  let a: Announcement
  try {
    a = Announcement.decode(signed.body)
  } catch (error) {
    throw malformed('not an announcement', error)
  }
  if (a.version !== PROTOCOL_VERSION) throw malformed(`version ${a.version}`)
  if (!equals(a.federation, rules.federation)) throw malformed('another federation')
  if (a.author.length === 0 || a.author.length > 128) throw malformed('no author')
  if (a.payloadHash.length !== 32 || a.copyHash.length !== 32) throw malformed('a hash that is not SHA-256')
  if (!Number.isSafeInteger(a.epoch) || !Number.isSafeInteger(a.sequence))
    throw malformed('epoch or sequence out of range')
  if (a.length === 0 || a.length > rules.maxPayloadBytes) throw malformed(`payload of ${a.length} bytes`)
  if (a.perplexity !== undefined && !isPerplexity(a.perplexity)) throw malformed('a perplexity that is none')
  return a
}

/** What others take for one. */
export const isPerplexity = (value: number): boolean => value >= 1 && value <= LIMITS.perplexity

/** The signature belongs to the author that the body names. */
export async function verifyAnnouncement(
  signed: SignedAnnouncement,
  author: string,
  signer: Signer,
): Promise<boolean> {
  if (signed.signature.length > 128) return false
  return signer.verify(author, concat([DOMAIN, signed.body]), signed.signature)
}

/** @throws ProtocolError `MESSAGE_MALFORMED` */
export function decodeSigned(data: Uint8Array): SignedAnnouncement {
  if (data.byteLength > LIMITS.announcementBytes) {
    const reason = `${data.byteLength} bytes, at most ${LIMITS.announcementBytes}`
    throw new ProtocolError({ code: 'MESSAGE_MALFORMED', what: 'announcement', reason })
  }
  try {
    return SignedAnnouncement.decode(data)
  } catch (error) {
    throw new ProtocolError(
      { code: 'MESSAGE_MALFORMED', what: 'announcement', reason: 'undecodable' },
      { cause: error },
    )
  }
}

export const encodeSigned = (signed: SignedAnnouncement): Uint8Array => SignedAnnouncement.encode(signed)

/** Whether `a` says more than `b` about the same author. */
export function isNewer(
  a: Pick<Announcement, 'epoch' | 'sequence'>,
  b: Pick<Announcement, 'epoch' | 'sequence'>,
): boolean {
  return a.epoch > b.epoch || (a.epoch === b.epoch && a.sequence > b.sequence)
}
