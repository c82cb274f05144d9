import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Announcement,
  decodeSigned,
  encodeSigned,
  isNewer,
  readAnnouncement,
  type SignedAnnouncement,
  signAnnouncement,
  verifyAnnouncement,
} from '../src/announcement.ts'
import { isProtocolError } from '../src/errors.ts'
import { LIMITS } from '../src/limits.ts'
import { holds, holdsAsync, thrown } from './support/check.ts'
import { announcementOf, federationBytes, forge, MANIFEST } from './support/federation.ts'
import { randomBytes, seeded } from './support/random.ts'
import { hashSigner, identity } from './support/signers.ts'

const AUTHOR = 'alice'
const SIGNER = hashSigner(AUTHOR)
const RULES = { federation: federationBytes(MANIFEST), maxPayloadBytes: 1000 }

const hashes = fc.uint8Array({ minLength: 32, maxLength: 32 })
const uint32 = fc.nat(0xffffffff)

const announcements: fc.Arbitrary<Announcement> = fc
  .record(
    {
      epoch: fc.maxSafeNat(),
      sequence: fc.maxSafeNat(),
      round: uint32,
      length: fc.integer({ min: 1, max: RULES.maxPayloadBytes }),
      payloadHash: hashes,
      copyHash: hashes,
      degree: uint32,
      perplexity: fc.float({ min: 1, max: LIMITS.perplexity, noNaN: true }),
    },
    { requiredKeys: ['epoch', 'sequence', 'round', 'length', 'payloadHash', 'copyHash', 'degree'] },
  )
  .map((fields) => announcementOf(MANIFEST, AUTHOR, fields))

/** Reads bytes as gossip does, and says how far they came. */
async function received(data: Uint8Array): Promise<'refused' | 'not signed' | SignedAnnouncement> {
  try {
    const signed = decodeSigned(data)
    const { author } = readAnnouncement(signed, RULES)
    return (await verifyAnnouncement(signed, author, SIGNER)) ? signed : 'not signed'
  } catch (error) {
    if (isProtocolError(error, 'MESSAGE_MALFORMED')) return 'refused'
    throw error
  }
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const changed = bytes.slice()
  changed[bit >> 3]! ^= 1 << (bit & 7)
  return changed
}

describe('a signed announcement', () => {
  it('comes back as it was', async () => {
    await holdsAsync([announcements], async (announcement) => {
      const { data } = await forge(announcement, SIGNER)
      expect(readAnnouncement(decodeSigned(data), RULES)).toEqual(announcement)
    })
  })

  it('is verified for its author and for nobody else', async () => {
    const signed = await signAnnouncement(announcementOf(MANIFEST, AUTHOR), SIGNER)
    expect(await verifyAnnouncement(signed, AUTHOR, SIGNER)).toBe(true)
    expect(await verifyAnnouncement(signed, 'bob', SIGNER)).toBe(false)
  })

  it('is far smaller than the limit, even with the largest numbers and a real identity', async () => {
    const { name, signer } = await identity(1)
    const largest = announcementOf(MANIFEST, name, {
      epoch: Number.MAX_SAFE_INTEGER,
      sequence: Number.MAX_SAFE_INTEGER,
      round: 0xffffffff,
      length: 0xffffffff,
      degree: 0xffffffff,
      perplexity: LIMITS.perplexity,
    })
    expect((await forge(largest, signer)).data.byteLength).toBeLessThan(LIMITS.announcementBytes / 4)
  })

  it('is refused or the same when it is cut short anywhere', async () => {
    const { data, signed } = await forge(announcementOf(MANIFEST, AUTHOR), SIGNER)
    for (let length = 0; length < data.byteLength; length++) {
      expect(await received(data.subarray(0, length))).toBeTypeOf('string')
    }
    expect(await received(data)).toEqual(signed)
  })

  it('is refused, not signed, or the same when any bit is flipped', async () => {
    const { data, signed } = await forge(announcementOf(MANIFEST, AUTHOR), SIGNER)
    for (let bit = 0; bit < 8 * data.byteLength; bit++) {
      expect(['refused', 'not signed', signed]).toContainEqual(await received(flipped(data, bit)))
    }
  })

  it('is refused, not signed, or the same whatever is done to its bytes', async () => {
    const { data, signed } = await forge(announcementOf(MANIFEST, AUTHOR), SIGNER)
    const edits = fc.array(fc.tuple(fc.nat(data.byteLength - 1), fc.nat(255)), { minLength: 1, maxLength: 6 })
    await holdsAsync(
      [edits, fc.uint8Array({ maxLength: 40 })],
      async (changes, tail) => {
        const changed = new Uint8Array([...data, ...tail])
        for (const [at, value] of changes) changed[at] = value
        expect(['refused', 'not signed', signed]).toContainEqual(await received(changed))
      },
      500,
    )
  })

  it('is covered by its signature in every byte of the body', async () => {
    const { name, signer } = await identity(2)
    const signed = await signAnnouncement(announcementOf(MANIFEST, name), signer)
    expect(await verifyAnnouncement(signed, name, signer)).toBe(true)
    for (let at = 0; at < signed.body.byteLength; at++) {
      const body = flipped(signed.body, 8 * at + (at % 8))
      expect(await verifyAnnouncement({ ...signed, body }, name, signer)).toBe(false)
    }
    for (let at = 0; at < signed.signature.byteLength; at++) {
      const signature = flipped(signed.signature, 8 * at + (at % 8))
      expect(await verifyAnnouncement({ ...signed, signature }, name, signer)).toBe(false)
    }
    expect(await verifyAnnouncement({ ...signed, body: signed.body.subarray(1) }, name, signer)).toBe(false)
    expect(
      await verifyAnnouncement({ ...signed, body: new Uint8Array([...signed.body, 0]) }, name, signer),
    ).toBe(false)
  })

  it('is not verified by a signature over the body alone: it says what it is for', async () => {
    const { body } = await signAnnouncement(announcementOf(MANIFEST, AUTHOR), SIGNER)
    expect(await verifyAnnouncement({ body, signature: await SIGNER.sign(body) }, AUTHOR, SIGNER)).toBe(false)
  })

  it.each([0, 63, 65, 129, 1000])(
    'is not verified by a signature of %d bytes, nor is anything thrown',
    async (length) => {
      const { name, signer } = await identity(3)
      const { body } = await signAnnouncement(announcementOf(MANIFEST, name), signer)
      expect(await verifyAnnouncement({ body, signature: new Uint8Array(length) }, name, signer)).toBe(false)
    },
  )
})

describe('decodeSigned', () => {
  it('refuses one byte more than the limit, whatever the bytes are', () => {
    const exact = encodeSigned({
      body: new Uint8Array(LIMITS.announcementBytes - 3),
      signature: new Uint8Array(),
    })
    expect(exact.byteLength).toBe(LIMITS.announcementBytes)
    expect(decodeSigned(exact).body.byteLength).toBe(LIMITS.announcementBytes - 3)
    expect(thrown(() => decodeSigned(new Uint8Array([...exact, 0])))).toEqual({
      code: 'MESSAGE_MALFORMED',
      what: 'announcement',
      reason: '2049 bytes, at most 2048',
    })
  })

  it('survives groups nested as deep as bytes allow', () => {
    expect(thrown(() => decodeSigned(new Uint8Array(LIMITS.announcementBytes).fill(0x1b))).code).toBe(
      'MESSAGE_MALFORMED',
    )
  })
})

describe('readAnnouncement', () => {
  const read = async (fields: Partial<Announcement>, author = AUTHOR) => {
    const { signed } = await forge(announcementOf(MANIFEST, author, fields), SIGNER)
    return () => readAnnouncement(signed, RULES)
  }

  it.each<[string, Partial<Announcement>, string]>([
    ['of another version', { version: 2 }, 'version 2'],
    ['without a version', { version: 0 }, 'version 0'],
    ['of another federation', { federation: new Uint8Array(32) }, 'another federation'],
    ['of half a federation', { federation: RULES.federation.subarray(0, 16) }, 'another federation'],
    ['without a federation', { federation: new Uint8Array() }, 'another federation'],
    ['of nobody', { author: '' }, 'no author'],
    ['of an author with an endless name', { author: 'a'.repeat(129) }, 'no author'],
    ['with a short payload hash', { payloadHash: new Uint8Array(31) }, 'a hash that is not SHA-256'],
    ['with a long payload hash', { payloadHash: new Uint8Array(33) }, 'a hash that is not SHA-256'],
    ['without a copy hash', { copyHash: new Uint8Array() }, 'a hash that is not SHA-256'],
    ['of an empty payload', { length: 0 }, 'payload of 0 bytes'],
    ['of a payload that no vector of this federation makes', { length: 1001 }, 'payload of 1001 bytes'],
    ['with a perplexity that is no number', { perplexity: NaN }, 'a perplexity that is none'],
    ['with a perplexity without end', { perplexity: Infinity }, 'a perplexity that is none'],
    ['with a perplexity below 1', { perplexity: 1 - 2 ** -24 }, 'a perplexity that is none'],
    ['with a perplexity of 0', { perplexity: 0 }, 'a perplexity that is none'],
    ['with a negative perplexity', { perplexity: -30 }, 'a perplexity that is none'],
    ['with a perplexity that no model has', { perplexity: 1e9 + 64 }, 'a perplexity that is none'],
  ])('refuses one %s', async (_, fields, reason) => {
    expect(thrown(await read(fields))).toEqual({ code: 'MESSAGE_MALFORMED', what: 'announcement', reason })
  })

  it.each([
    ['large epoch, 2^53', 0x20, [0, 0, 0, 0, 0, 0, 0, 16]],
    ['large sequence, 2^53', 0x28, [0, 0, 0, 0, 0, 0, 0, 16]],
    ['largest epoch, 2^64 - 1', 0x20, [127, 127, 127, 127, 127, 127, 127, 127, 127, 1]],
  ])('refuses one with a %s, which a number cannot hold', async (_, tag, groups) => {
    const { signed } = await forge(announcementOf(MANIFEST, AUTHOR), SIGNER)
    const varint = groups.map((group, i) => (i < groups.length - 1 ? group | 0x80 : group))
    const body = new Uint8Array([...signed.body, tag, ...varint])
    expect(thrown(() => readAnnouncement({ ...signed, body }, RULES)).code).toBe('MESSAGE_MALFORMED')
  })

  it('takes the perplexity that it says last, as protobuf has it, or refuses all of it when it is cut short', async () => {
    const { signed } = await forge(announcementOf(MANIFEST, AUTHOR, { perplexity: 33 }), SIGNER)
    const then = (...bytes: number[]) => ({
      ...signed,
      body: new Uint8Array([...signed.body, 0x5d, ...bytes]),
    })
    expect(readAnnouncement(then(0, 0, 128, 63), RULES).perplexity).toBe(1)
    for (const [bytes, reason] of [
      [[0, 0, 192, 127], 'a perplexity that is none'], // not a number
      [[0, 0], 'not an announcement'],
    ] as const)
      expect(thrown(() => readAnnouncement(then(...bytes), RULES))).toMatchObject({ reason })
  })

  it('refuses a body that is none', () => {
    holds([fc.uint8Array({ maxLength: 200 })], (body) => {
      expect(thrown(() => readAnnouncement({ body, signature: new Uint8Array(64) }, RULES)).code).toBe(
        'MESSAGE_MALFORMED',
      )
    })
  })

  it('refuses a body larger than an announcement may be: a copy brings one along that nobody has measured', async () => {
    const padding = Uint8Array.of(0x7a, 0x80, 0x10, ...randomBytes(2048, seeded(1))) // field 15, 2,048 bytes
    const { signed } = await forge(announcementOf(MANIFEST, AUTHOR), SIGNER)
    const body = new Uint8Array([...signed.body, ...padding])
    expect(thrown(() => readAnnouncement({ ...signed, body }, RULES)).code).toBe('MESSAGE_MALFORMED')
  })
})

describe('isNewer', () => {
  it('goes by epoch first, then by sequence', () => {
    const at = (epoch: number, sequence: number) => ({ epoch, sequence })
    expect(isNewer(at(1, 2), at(1, 1))).toBe(true)
    expect(isNewer(at(1, 1), at(1, 1))).toBe(false)
    expect(isNewer(at(1, 1), at(1, 2))).toBe(false)
    expect(isNewer(at(2, 0), at(1, 9))).toBe(true)
    expect(isNewer(at(1, 9), at(2, 0))).toBe(false)
  })
})
