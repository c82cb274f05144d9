import { describe, expect, it } from 'vitest'
import { withOwnPorts } from '../src/host/addresses.ts'

describe('ports of a peer', () => {
  const listen = ['/ip4/0.0.0.0/tcp/0', '/ip4/0.0.0.0/tcp/0/ws', '/ip4/127.0.0.1/tcp/4001', '/p2p-circuit']

  it('are the same each time, other ones for another peer, and one for each address', () => {
    const ports = (peer: string) =>
      withOwnPorts(listen, peer).map((address) => Number(/\/tcp\/(\d+)/.exec(address)?.[1]))
    const [first, second] = ports('anna')
    expect(second).toBe(first! + 1)
    expect(ports('anna')).toEqual(ports('anna'))
    expect(ports('bert')[0]).not.toBe(first)
    for (let i = 0; i < 1000; i++) {
      expect(ports(`peer ${i}`)[0]).toBeGreaterThanOrEqual(20_000)
      expect(ports(`peer ${i}`)[1]).toBeLessThanOrEqual(32_000) // where Linux begins with those of its own choice
    }
  })

  it('leave everything else as it was', () => {
    const [, second, ...others] = withOwnPorts(listen, 'anna')
    expect(second).toMatch(/\/ws$/)
    expect(others).toEqual(listen.slice(2))
  })
})
