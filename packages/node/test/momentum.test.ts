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

  it("moves the mean of peers that mix as DiLoCo's outer optimiser does", () => {
    // What three peers learn in six rounds, and rows of a symmetric matrix by which they mix.
    const learnt = (peer: number, round: number) => Math.sin(3 * peer + round)
    const weights = [0.5, 0.3, 0.2]
    const row = (peer: number) => weights.map((_, other) => weights[(peer + other) % 3]!)
    const peers = weights.map(() => ({ x: 0, momentum: { factor: FACTOR, velocity: new Float32Array(1) } }))
    let [mean, velocity] = [0, 0]
    for (let round = 1; round <= 6; round++) {
      const trained = peers.map(({ x, momentum }, peer) => {
        const moved = learnt(peer, round)
        return x + moved + nesterov(momentum, Float32Array.of(moved))[0]!
      })
      peers.forEach((peer, i) => {
        peer.x = row(i).reduce((sum, weight, other) => sum + weight * trained[other]!, 0)
      })
      const outer = peers.reduce((sum, _, peer) => sum + learnt(peer, round) / 3, 0)
      velocity = FACTOR * velocity + outer
      mean += outer + FACTOR * velocity
    }
    expect(peers.reduce((sum, { x }) => sum + x / 3, 0)).toBeCloseTo(mean, 5)
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
