import { describe, expect, it } from 'vitest'
import { parseAddress, peerOf, withOwnPorts } from '../src/host/addresses.ts'

const AT = '/ip4/192.0.2.7/tcp/4001'
const ID = '12D3KooWSnZHSAXStytjmiHRwdCySPytTV8zPfjytadEE4WnfaQf'

describe('an address', () => {
  it.each([
    [AT, undefined],
    [`${AT}/p2p/${ID}`, ID],
    [`${AT}/p2p/${ID}/p2p-circuit`, undefined],
  ])('may end with an id: %s', (text, id) => {
    expect(peerOf(parseAddress(text))).toBe(id)
  })

  it.each([
    `${AT}/p2p/12D3KooW`,
    `${AT}/p2p/${ID.slice(0, -1)}`,
    `${AT}/p2p/${ID.slice(1)}`,
    `${AT}/p2p/${ID.replace('Z', 'l')}`,
    `${AT}/p2p/${ID.slice(0, -1)}/p2p-circuit`,
  ])('with an id that is none is malformed: %s', (text) => {
    expect(() => parseAddress(text)).toThrow('the id after /p2p/ is cut or mistyped')
  })

  it.each(['', 'localhost:4001', '/ip4/192.0.2.7/tcp'])('is a multiaddr: %s', (text) => {
    expect(() => parseAddress(text)).toThrow(
      expect.objectContaining({
        detail: expect.objectContaining({ code: 'ADDRESS_MALFORMED', address: text }),
      }),
    )
  })
})

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
