import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ProtocolError } from '../src/errors.ts'
import {
  decodeManifest,
  encodeManifest,
  type Manifest,
  manifestHash,
  parseManifest,
  requireSameManifest,
} from '../src/manifest.ts'
import { holds, thrown } from './support/check.ts'
import { MANIFEST } from './support/federation.ts'

/** A manifest with one field changed or, with undefined, taken away; the field is named by its path. */
function changed(path: string, value: unknown): Manifest {
  const keys = path.split('.')
  const change = (record: Record<string, unknown>, [key, ...rest]: readonly string[]): unknown => {
    const next = rest.length === 0 ? value : change(record[key!] as Record<string, unknown>, rest)
    return Object.fromEntries(
      Object.entries({ ...record, [key!]: next }).filter(([, kept]) => kept !== undefined),
    )
  }
  return change(MANIFEST, keys) as Manifest
}

/** The same JSON value with the keys of every object in the order that a seed makes. */
function shuffled(value: unknown, seed: number): unknown {
  if (typeof value !== 'object' || value === null) return value
  const rank = (key: string) => (key.length * 7919 + key.charCodeAt(0) * 31 + seed * key.charCodeAt(1)) % 101
  const entries = Object.entries(value).sort(([a], [b]) => rank(a) - rank(b))
  return Object.fromEntries(entries.map(([key, inner]) => [key, shuffled(inner, seed)]))
}

const utf8 = (text: string) => new TextEncoder().encode(text)

// Written out, so that no change of this code changes a hash unnoticed: peers of the same version must agree on it.
const CANONICAL =
  `{"base":{"config":"${'b'.repeat(64)}","name":"tiny","tokenizer":"${'c'.repeat(64)}","weights":"${'a'.repeat(64)}"},` +
  '"codec":{"values":"int8"},"comigs":1,"localSteps":10,"lora":{"alpha":16,"rank":8},"name":"test","parameters":64,' +
  '"robust":false,"routerEvery":30,"routerSteps":10,"schedule":{"kind":"cosine","rate":0.002,"rounds":20},"seed":1234}'
const GOLDEN = '0faaec7bc101bdb1c4148770a2720b69a4c198b941a578a3b94efd49ebfe8224'

describe('a manifest on the wire', () => {
  it('is canonical JSON, byte for byte', () => {
    expect(new TextDecoder().decode(encodeManifest(MANIFEST))).toBe(CANONICAL)
  })

  it('has the hash that sha256sum gives for these bytes', () => {
    expect(manifestHash(MANIFEST)).toBe(GOLDEN)
  })

  it('has a hash that does not depend on the order of the keys, nor on spaces', () => {
    holds([fc.nat(1000)], (seed) => {
      expect(manifestHash(decodeManifest(utf8(JSON.stringify(shuffled(MANIFEST, seed), undefined, 2))))).toBe(
        GOLDEN,
      )
    })
  })

  it('has another hash when any field is another', () => {
    const others = [
      changed('name', 'other'),
      changed('base.weights', 'd'.repeat(64)),
      changed('lora.alpha', 16.5),
      changed('seed', 1235),
      changed('schedule', { kind: 'constant', rate: 0.002, warmupSteps: 20 }),
      changed('codec.values', 'float16'),
    ].map(manifestHash)
    expect(new Set([GOLDEN, ...others]).size).toBe(others.length + 1)
  })

  it('comes back as it was', () => {
    expect(decodeManifest(encodeManifest(MANIFEST))).toEqual(MANIFEST)
  })

  it.each([
    ['nothing', new Uint8Array()],
    ['something else', utf8('hello')],
    ['half of one', encodeManifest(MANIFEST).subarray(0, 100)],
    ['what is not UTF-8', Uint8Array.of(0x22, 0xff, 0x22)],
  ])('is refused when it is %s', (_, bytes) => {
    expect(thrown(() => decodeManifest(bytes))).toEqual({
      code: 'MANIFEST_INVALID',
      field: '(manifest)',
      reason: 'is not JSON',
    })
  })

  it.each(['null', '3', '"text"', '[]', 'true'])('is refused when it is the JSON %s', (json) => {
    expect(thrown(() => decodeManifest(utf8(json)))).toMatchObject({
      code: 'MANIFEST_INVALID',
      field: '(manifest)',
    })
  })
})

describe('parseManifest', () => {
  it.each([
    ['comigs', 2],
    ['comigs', '1'],
    ['name', ''],
    ['name', 'n'.repeat(65)],
    ['name', 7],
    ['name', 'a\u001b[2J'],
    ['base.name', 'a\n'],
    ['base', 'gpt2'],
    ['base.name', ''],
    ['base.name', 'n'.repeat(65)],
    ['base.weights', 'a'.repeat(63)],
    ['base.weights', 'A'.repeat(64)],
    ['base.config', 'g'.repeat(64)],
    ['base.tokenizer', `${'c'.repeat(64)}\n`],
    ['lora.rank', 0],
    ['lora.rank', 257],
    ['lora.rank', 1.5],
    ['lora.alpha', 0],
    ['lora.alpha', -1],
    ['lora.alpha', Infinity],
    ['parameters', 0],
    ['parameters', 64_000_001],
    ['parameters', NaN],
    ['seed', -1],
    ['seed', 0x1_0000_0000],
    ['localSteps', 0],
    ['localSteps', 100_001],
    ['routerEvery', 0],
    ['routerEvery', 1_000_010],
    ['routerSteps', 0],
    ['routerSteps', 100_001],
    ['schedule.kind', 'linear'],
    ['schedule.rate', 0],
    ['schedule.rounds', 0],
    ['schedule.rounds', 2.5],
    ['codec.values', 'int2'],
    ['codec.topK', 0],
    ['codec.topK', 0.0009],
    ['codec.topK', 0.51],
    ['codec.topK', '0.1'],
    ['robust', 'yes'],
    ['momentum', 0],
    ['momentum', 0.91],
    ['momentum', NaN],
  ])('refuses %s = %j and names the field', (field, value) => {
    expect(thrown(() => parseManifest(changed(field, value)))).toMatchObject({
      code: 'MANIFEST_INVALID',
      field,
    })
  })

  it.each([
    ['name', 'n'.repeat(64)],
    ['lora.rank', 256],
    ['lora.alpha', 0.5],
    ['parameters', 64_000_000],
    ['seed', 0],
    ['seed', 0xffffffff],
    ['routerEvery', 1_000_000],
    ['routerSteps', 100_000],
    ['schedule', { kind: 'constant', rate: 1, warmupSteps: 1 }],
    ['codec.values', 'float32'],
    ['codec.values', 'float16'],
    ['codec.values', 'int4'],
    ['codec.topK', 0.001],
    ['codec.topK', 0.5],
    ['robust', true],
    ['momentum', 0.01],
    ['momentum', 0.9],
  ])('accepts %s = %j', (field, value) => {
    expect(parseManifest(changed(field, value))).toEqual(changed(field, value))
  })

  it.each([
    'comigs',
    'name',
    'base',
    'base.weights',
    'base.config',
    'base.tokenizer',
    'base.name',
    'lora',
    'lora.rank',
    'lora.alpha',
    'parameters',
    'seed',
    'localSteps',
    'routerEvery',
    'routerSteps',
    'schedule',
    'schedule.rate',
    'schedule.rounds',
    'codec',
    'codec.values',
    'robust',
  ])('misses %s and names it', (field) => {
    expect(thrown(() => parseManifest(changed(field, undefined)))).toMatchObject({
      code: 'MANIFEST_INVALID',
      field,
    })
  })

  it.each(['dropout', 'lora.dropout', 'base.licence', 'schedule.warmupSteps', 'codec.dither'])(
    'names %s, which this version does not know',
    (field) => {
      expect(thrown(() => parseManifest(changed(field, 1)))).toEqual({
        code: 'MANIFEST_INVALID',
        field,
        reason: 'is not known to this version',
      })
    },
  )

  it('wants router phases at the end of a round: routerEvery is a multiple of localSteps', () => {
    expect(thrown(() => parseManifest(changed('routerEvery', 25)))).toEqual({
      code: 'MANIFEST_INVALID',
      field: 'routerEvery',
      reason: 'must be a multiple of localSteps (10)',
    })
    expect(parseManifest(changed('routerEvery', 10)).routerEvery).toBe(10)
  })

  it('says in words what is wrong', () => {
    expect(() => parseManifest(changed('lora.rank', 0))).toThrow(
      /the federation manifest is not valid: field "lora\.rank"/,
    )
  })
})

describe('requireSameManifest', () => {
  it('accepts an equal one, whatever the order of its keys', () => {
    requireSameManifest(MANIFEST, shuffled(MANIFEST, 3) as Manifest)
  })

  it.each([
    ['name', 'other', '"test"', '"other"'],
    ['base.weights', 'd'.repeat(64), `"${'a'.repeat(64)}"`, `"${'d'.repeat(64)}"`],
    ['lora.rank', 4, '8', '4'],
    ['schedule.rounds', 21, '20', '21'],
    ['codec.values', 'float32', '"int8"', '"float32"'],
    ['lora', null, '{"rank":8,"alpha":16}', 'null'],
    ['lora.alpha', undefined, '16', 'absent'],
    ['privacy', { noise: 1 }, 'absent', '{"noise":1}'],
    ['lora.dropout', 0.1, 'absent', '0.1'],
    ['comigs', 2, '1', '2'],
  ])('names %s when it is %j there', (field, value, ours, theirs) => {
    const detail = thrown(() => requireSameManifest(MANIFEST, changed(field, value)))
    expect(detail).toEqual({ code: 'MANIFEST_MISMATCH', field, ours, theirs })
  })

  it('says in words what differs, theirs and ours', () => {
    expect(() => requireSameManifest(MANIFEST, changed('lora.rank', 4))).toThrow(
      'the peer is in another federation: field "lora.rank" is 4 there and 8 here',
    )
  })

  it('says it in few words, however much the other says', () => {
    const endless = changed('name', 'x'.repeat(20_000))
    const detail = thrown(() => requireSameManifest(MANIFEST, endless))
    expect(new ProtocolError(detail).message.length).toBeLessThan(500)
  })

  it('says nothing that a terminal would obey', () => {
    const hostile = changed('\u001b[2J\u009b', 'x\u009b31m')
    expect(thrown(() => requireSameManifest(MANIFEST, hostile))).toMatchObject({
      field: '?[2J?',
      theirs: '"x?31m"',
    })
    expect(thrown(() => parseManifest(hostile))).toMatchObject({ field: '?[2J?' })
  })

  it('survives what is no manifest at all', () => {
    for (const theirs of [null, 3, 'text', [], {}]) {
      expect(thrown(() => requireSameManifest(MANIFEST, theirs as unknown as Manifest)).code).toBe(
        'MANIFEST_MISMATCH',
      )
    }
  })
})
