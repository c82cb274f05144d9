import { describe, expect, it } from 'vitest'
import { DEFAULT_BASE } from '../src/base-folder.ts'
import { nesterov } from '../src/momentum.ts'
import { TrainingHost } from '../src/training/training-host.ts'

const FACTOR = 0.5

describe('momentum between rounds', () => {
  it('adds to a round what is left of those before', () => {
    const momentum = { factor: FACTOR, velocity: new Float32Array(2) }
    expect(nesterov(momentum, Float32Array.of(4, -8))).toEqual(Float32Array.of(2, -4))
    expect(nesterov(momentum, Float32Array.of(1, 0))).toEqual(Float32Array.of(1.5, -2)) // v = (3, -4)
    expect(momentum.velocity).toEqual(Float32Array.of(3, -4))
  })

  it.each([0.05, 0.25, 0.5, 0.75, 0.9, 1])(
    'lets a peer that mixes with a share of %d come to where the others are, and stay there',
    (share) => {
      const momentum = { factor: FACTOR, velocity: new Float32Array(1) }
      const x = Float32Array.of(1) // the others are at 0
      for (let round = 1; round <= 60; round++) {
        const moved = Float32Array.of(-share * x[0]!)
        x[0]! += moved[0]! + nesterov(momentum, moved)[0]!
        // It may overshoot, but never by more than it was away.
        expect(Math.abs(x[0]!)).toBeLessThan(1)
      }
      // Sooner than without, which leaves (1 - share) to the 60th.
      expect(Math.abs(x[0]!)).toBeLessThanOrEqual(Math.max((1 - share) ** 60, 1e-8))
      expect(Math.abs(momentum.velocity[0]!)).toBeLessThan(0.2 * 0.95 ** 60)
    },
  )

  it.each([
    [1.49, false],
    [1.51, true],
  ])('would not come to rest if it took %d of the difference, as averaging may: %s', (share, isFurther) => {
    const momentum = { factor: FACTOR, velocity: new Float32Array(1) }
    let x = 1
    for (let round = 1; round <= 600; round++)
      x += -share * x + nesterov(momentum, Float32Array.of(-share * x))[0]!
    expect(Math.abs(x) > 1).toBe(isFurther)
  })

  it('goes on after a restart', async () => {
    const host = async () => {
      const made = new TrainingHost()
      await made.load({ engine: 'onnx', threads: 1, base: DEFAULT_BASE, baseDtype: 'auto' })
      await made.prepare({
        mixture: { experts: 2, rank: 8, alpha: 16, routing: 'router' },
        batch: 1,
        context: 1,
        schedule: { kind: 'constant', rate: 0, warmupSteps: 1 },
        sharedSeed: 1,
        seed: 2,
      })
      return made
    }
    const before = await host()
    const velocity = (await before.shared()).map((_, k) => Math.sin(k))
    const bytes = await before.checkpoint({ extra: { round: '7' }, velocity })
    expect((await host()).restore(bytes, 'a file')).toEqual({ extra: { round: '7' }, velocity })
    const plain = await before.checkpoint({ extra: { round: '7' } })
    expect((await host()).restore(plain, 'a file').velocity).toBeUndefined()
  })
})
