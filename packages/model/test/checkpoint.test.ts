import { describe, expect, it } from 'vitest'
import { decodeCheckpoint, encodeCheckpoint } from '../src/checkpoint.ts'
import { ModelError } from '../src/errors.ts'
import { writeSafetensors } from '../src/safetensors.ts'
import type { TrainerState } from '../src/trainer.ts'
import { normal, randomInts } from './helpers/arrays.ts'
import { expectSame } from './helpers/compare.ts'
import { freshEngine } from './helpers/engines.ts'
import { mixtureOf, tinyTrainer } from './helpers/models.ts'
import { refusal } from './helpers/refusals.ts'

const STATE: TrainerState = {
  counters: { expertSteps: 120, routerSteps: 40, plateau: { best: 3.25, bad: 7, factor: 0.5 } },
  arrays: [
    { name: 'experts/a', shape: [3, 4], values: normal('a', [3, 4]).values },
    { name: 'experts.first/a', shape: [3, 4], values: normal('b', [3, 4]).values },
    { name: 'router/r', shape: [2], values: Float32Array.of(-0, 1e-40) },
  ],
}
const EXTRA = { round: '12', peer: 'żółw' }

function expectSameState(actual: TrainerState, expected: TrainerState): void {
  expect(actual.counters).toEqual(expected.counters)
  expect(actual.arrays.map(({ name, shape }) => ({ name, shape }))).toEqual(
    expected.arrays.map(({ name, shape }) => ({ name, shape })),
  )
  for (const [i, { name, values }] of expected.arrays.entries())
    expectSame(actual.arrays[i]!.values, values, name)
}

describe('a checkpoint', () => {
  it('comes back as it was', () => {
    const { state, extra } = decodeCheckpoint(encodeCheckpoint(STATE, EXTRA), 'x')
    expectSameState(state, STATE)
    expect(extra).toEqual(EXTRA)
  })

  it('remembers a plateau that has seen nothing', () => {
    const counters = { ...STATE.counters, plateau: { best: Infinity, bad: 0, factor: 1 } }
    const { state } = decodeCheckpoint(encodeCheckpoint({ ...STATE, counters }, {}), 'x')
    expect(state.counters).toEqual(counters)
  })

  it('holds everything of a trainer', async () => {
    const trainer = await tinyTrainer(await freshEngine('onnx'), mixtureOf(3))
    await trainer.trainExperts(2)
    await trainer.trainRouters(1)
    const saved = await trainer.save()
    expectSameState(decodeCheckpoint(encodeCheckpoint(saved, {}), 'x').state, saved)
    const { experts, router } = trainer.layout
    expect(saved.arrays.reduce((sum, { values }) => sum + values.length, 0)).toBe(
      3 * (experts.size + router.size),
    )
  })

  it('is the same bytes for the same state', () => {
    expect(encodeCheckpoint(STATE, EXTRA)).toEqual(encodeCheckpoint(STATE, EXTRA))
  })

  it('cannot be given a format or counters of the caller', () => {
    const { state, extra } = decodeCheckpoint(
      encodeCheckpoint(STATE, { format: 'x', counters: 'y', digest: 'z' }),
      'x',
    )
    expectSameState(state, STATE)
    expect(extra).toEqual({})
  })

  it('with one byte changed is refused, or is the same checkpoint', () => {
    const bytes = encodeCheckpoint(STATE, EXTRA)
    const silent: string[] = []
    const positions = Array.from({ length: bytes.length }, (_, i) => i)
    const flips = randomInts('flips', bytes.length, 255)
    for (const at of positions) {
      for (const flip of [1, 1 + flips[at]!]) {
        const changed = bytes.slice()
        changed[at]! ^= flip
        if (!refusedOrSame(changed))
          silent.push(`${at}: ${context(bytes, at)} read as ${context(changed, at)}`)
      }
    }
    expect(silent).toEqual([])
  })

  it('cut off anywhere is refused', async () => {
    const bytes = encodeCheckpoint(STATE, EXTRA)
    for (let length = 0; length < bytes.length; length += 7) {
      const detail = await refusal(() => decodeCheckpoint(bytes.slice(0, length), 'a.ckpt'))
      expect(detail).toMatchObject({ code: 'CHECKPOINT_INVALID', path: 'a.ckpt' })
    }
  })

  it.each<[string, Uint8Array]>([
    ['a file of another kind', Buffer.from('{"not": "a checkpoint"}, but long enough')],
    ['weights that are no checkpoint', writeSafetensors(STATE.arrays)],
    ['another version', writeSafetensors(STATE.arrays, { format: 'comigs-checkpoint-2' })],
    ['no counters', writeSafetensors([], { format: 'comigs-checkpoint-1', digest: 'x' })],
    ['counters that are no JSON', withCounters('{')],
    ['counters that are not there', withCounters('{}')],
    ['negative counters', withCounters(JSON.stringify({ ...STATE.counters, expertSteps: -1 }))],
    ['fractional counters', withCounters(JSON.stringify({ ...STATE.counters, routerSteps: 0.5 }))],
    [
      'a state that was not finite',
      encodeCheckpoint({ ...STATE, arrays: [{ name: 'x', shape: [1], values: Float32Array.of(NaN) }] }, {}),
    ],
  ])('is refused when it is %s', async (_, bytes) => {
    expect(await refusal(() => decodeCheckpoint(bytes, 'a.ckpt'))).toMatchObject({
      code: 'CHECKPOINT_INVALID',
      path: 'a.ckpt',
    })
  })
})

/** A whole checkpoint but for its counters. */
function withCounters(counters: string): Uint8Array {
  const bytes = Buffer.from(encodeCheckpoint({ ...STATE, arrays: [] }, {}))
  const written = JSON.stringify(JSON.stringify(STATE.counters))
  const header = bytes.subarray(8).toString().trimEnd()
  const changed = Buffer.from(header.replace(written, JSON.stringify(counters)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(changed.length))
  return Buffer.concat([length, changed])
}

function refusedOrSame(bytes: Uint8Array): boolean {
  let decoded: ReturnType<typeof decodeCheckpoint>
  try {
    decoded = decodeCheckpoint(bytes, 'x')
  } catch (error) {
    return error instanceof ModelError && error.detail.code === 'CHECKPOINT_INVALID'
  }
  const plain = ({ state, extra }: typeof decoded) => ({
    extra,
    counters: state.counters,
    arrays: state.arrays.map(({ name, shape, values }) => [
      name,
      shape,
      Buffer.from(new Uint8Array(values.buffer)).toString('hex'),
    ]),
  })
  const whole = decodeCheckpoint(encodeCheckpoint(STATE, EXTRA), 'x')
  return JSON.stringify(plain(decoded)) === JSON.stringify(plain(whole))
}

const context = (bytes: Uint8Array, at: number) =>
  JSON.stringify(Buffer.from(bytes.subarray(at - 8, at + 8)).toString('latin1'))
