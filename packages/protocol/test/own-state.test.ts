import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeOwnState, encodeOwnState, type OwnState } from '../src/own-state.ts'
import { holds, thrown } from './support/check.ts'
import { randomVector } from './support/random.ts'

const COUNT = 10

const finite = fc.float({ noNaN: true, noDefaultInfinity: true })

const states: fc.Arbitrary<OwnState> = fc.record({
  epoch: fc.maxSafeNat(),
  sequence: fc.maxSafeNat(),
  round: fc.nat(0xffffffff),
  copy: fc.array(finite, { minLength: COUNT, maxLength: COUNT }).map((values) => Float32Array.from(values)),
  announcement: fc.uint8Array({ maxLength: 300 }),
  payload: fc.uint8Array({ maxLength: 300 }),
})

const STATE: OwnState = {
  epoch: 1_767_225_600,
  sequence: 3,
  round: 7,
  copy: randomVector(COUNT, 1),
  announcement: Uint8Array.of(1, 2, 3),
  payload: Uint8Array.of(4, 5, 6, 7),
}

const refused = (bytes: Uint8Array, count = COUNT) => thrown(() => decodeOwnState(bytes, count))
const MALFORMED = { code: 'MESSAGE_MALFORMED', what: 'stored state' }

describe('a stored state', () => {
  it('comes back as it was', () => {
    holds([states], (state) => {
      expect(decodeOwnState(encodeOwnState(state), COUNT)).toEqual(state)
    })
  })

  it('is refused when it is cut short anywhere', () => {
    const bytes = encodeOwnState(STATE)
    for (let length = 0; length < bytes.byteLength; length++) {
      expect(refused(bytes.subarray(0, length))).toMatchObject(MALFORMED)
    }
  })

  it('is refused when any bit is flipped', () => {
    const bytes = encodeOwnState(STATE)
    for (let bit = 0; bit < 8 * bytes.byteLength; bit++) {
      const changed = bytes.slice()
      changed[bit >> 3]! ^= 1 << (bit & 7)
      expect(refused(changed)).toMatchObject({ ...MALFORMED, reason: 'the digest does not fit' })
    }
  })

  it('is refused when something was appended', () => {
    expect(refused(new Uint8Array([...encodeOwnState(STATE), 0]))).toMatchObject(MALFORMED)
  })

  it('is refused when the vector has another length: the folder is of another federation', () => {
    expect(refused(encodeOwnState(STATE), COUNT + 1)).toMatchObject(MALFORMED)
    expect(refused(encodeOwnState({ ...STATE, copy: new Float32Array() }))).toMatchObject(MALFORMED)
  })

  it('is refused when the copy is not finite', () => {
    expect(refused(encodeOwnState({ ...STATE, copy: new Float32Array(COUNT).fill(NaN) }))).toMatchObject(
      MALFORMED,
    )
  })

  it('does not share memory with the file that it was read from', () => {
    const bytes = encodeOwnState(STATE)
    const state = decodeOwnState(bytes, COUNT)
    bytes.fill(0)
    expect(state.copy).toEqual(STATE.copy)
  })
})
