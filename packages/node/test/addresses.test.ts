import { describe, expect, it } from 'vitest'
import { parseAddress, peerOf } from '../src/host/addresses.ts'

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
