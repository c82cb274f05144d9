import '../src/polyfill.ts'
import { generateKeyPair } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { createHost } from '../src/host/host.ts'
import type { UpnpFinding } from '../src/host/upnp.ts'

const PUBLIC = '5.6.7.8'
const LOOPBACK = '127.0.0.1'

interface Order {
  readonly action: string
  readonly service: string
  value(name: string): string
}

interface RouterInit {
  readonly service?: string
  /** Its answer to a search, with where its description is. */
  search?(location: string): string
  description?(response: ServerResponse, usual: string): void
  /** An error number for a mapping, or nothing. */
  refuse?(order: Order): number | undefined
  publicHost?(): string
  isSilent?(action: string): boolean
}

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

/** A router on loopback: a UDP socket that answers searches, and an HTTP server that takes orders. */
async function startRouter(init: RouterInit = {}) {
  const service = `urn:schemas-upnp-org:service:${init.service ?? 'WANIPConnection:2'}`
  const orders: Order[] = []
  const usual = `<root><service><serviceType>${service}</serviceType><controlURL>/control</controlURL></service></root>`
  const http = createServer((request, response) => {
    if (request.url === '/description') {
      if (init.description === undefined) response.end(usual)
      else init.description(response, usual)
      return
    }
    let body = ''
    request.on('data', (data: Buffer) => (body += data.toString()))
    request.on('end', () => {
      const [type = '', action = ''] = String(request.headers['soapaction']).replaceAll('"', '').split('#')
      const order: Order = {
        action,
        service: type,
        value: (name) => new RegExp(`<${name}>([^<]*)</${name}>`).exec(body)?.[1] ?? '',
      }
      orders.push(order)
      if (init.isSilent?.(action) === true) return
      const refused = action === 'AddPortMapping' ? init.refuse?.(order) : undefined
      response.statusCode = refused === undefined ? 200 : 500
      if (refused !== undefined) response.end(`<UPnPError><errorCode>${refused}</errorCode></UPnPError>`)
      else response.end(`<NewExternalIPAddress>${init.publicHost?.() ?? PUBLIC}</NewExternalIPAddress>`)
    })
  })
  http.listen(0, LOOPBACK)
  await once(http, 'listening')
  const location = `http://${LOOPBACK}:${(http.address() as AddressInfo).port}/description`
  const udp = createSocket('udp4')
  udp.on('message', (_, { port, address }) => {
    const answer = init.search?.(location) ?? `HTTP/1.1 200 OK\r\nLOCATION: ${location}\r\n\r\n`
    udp.send(answer, port, address)
  })
  udp.bind(0, LOOPBACK)
  await once(udp, 'listening')
  closing.push(async () => {
    udp.close()
    http.closeAllConnections()
    http.close()
    await once(http, 'close')
  })
  const actions = (name: string) => orders.filter(({ action }) => action === name)
  return { group: { host: LOOPBACK, port: udp.address().port }, actions }
}

/** A peer that listens on loopback and takes that for the network of its router. */
async function startPeer(
  group: { host: string; port: number },
  { answerMs = 5000, renewMs = 600_000, stopMs = 5000, ports = 1 } = {},
) {
  const findings: UpnpFinding[] = []
  let wake: () => void = () => undefined
  const host = await createHost({
    key: (await generateKeyPair('Ed25519')) as unknown as PrivateKey,
    listen: Array.from({ length: ports }, (_, i) => `/ip4/${LOOPBACK}/tcp/0${i === 1 ? '/ws' : ''}`),
    announce: [],
    federation: 'test',
    crowded: true,
    upnp: {
      onFinding(finding) {
        findings.push(finding)
        wake()
      },
      networks: () => [{ host: LOOPBACK, bits: 8 }],
      group,
      timing: { answerMs, renewMs, stopMs },
    },
  })
  closing.push(async () => host.stop())
  return {
    host,
    /** The n-th that it tells. */
    async finding(n = 0): Promise<UpnpFinding> {
      while (findings.length <= n) await new Promise<void>((resolve) => (wake = resolve))
      return findings[n]!
    },
    addresses: () =>
      host
        .getMultiaddrs()
        .map(String)
        .filter((address) => !address.startsWith(`/ip4/${LOOPBACK}/`)),
    port: (i = 0) => host.getMultiaddrs()[i]!.nodeAddress().port,
  }
}

describe('a router that forwards ports', () => {
  it.each(['WANIPConnection:1', 'WANIPConnection:2', 'WANPPPConnection:1'])(
    'lets others in through %s, and is told when that is over',
    async (service) => {
      const router = await startRouter({ service })
      const peer = await startPeer(router.group)
      const { found, advice } = await peer.finding()
      const address = `/ip4/${PUBLIC}/tcp/${peer.port()}/p2p/${peer.host.peerId.toString()}`
      expect(found).toBe(`others reach us at ${address}`)
      expect(advice).toBeUndefined()
      expect(peer.addresses()).toEqual([address])
      const [order] = router.actions('AddPortMapping')
      expect(order!.service).toBe(`urn:schemas-upnp-org:service:${service}`)
      expect(order!.value('NewInternalClient')).toBe(LOOPBACK)
      expect(order!.value('NewLeaseDuration')).toBe('1800')
      const port = String(peer.port())
      await peer.host.stop()
      expect(router.actions('DeletePortMapping').map((one) => one.value('NewExternalPort'))).toEqual([port])
    },
  )

  it('forwards the port for WebSockets, too', async () => {
    const router = await startRouter()
    const peer = await startPeer(router.group, { ports: 2 })
    await peer.finding()
    expect(router.actions('AddPortMapping')).toHaveLength(2)
    expect(peer.addresses().map((one) => one.includes('/ws/'))).toEqual([false, true])
  })

  it('is asked for another port where ours is taken, and only that one is given back', async () => {
    const router = await startRouter({
      refuse: (order) =>
        order.value('NewExternalPort') === order.value('NewInternalPort') ? 718 : undefined,
    })
    const peer = await startPeer(router.group)
    await peer.finding()
    const [taken, other] = router.actions('AddPortMapping').map((one) => one.value('NewExternalPort'))
    expect(peer.addresses()[0]).toContain(`/tcp/${other}/`)
    expect(other).not.toBe(taken)
    await peer.host.stop()
    expect(router.actions('DeletePortMapping').map((one) => one.value('NewExternalPort'))).toEqual([other])
  })

  it('is asked for a permanent lease where it knows no other', async () => {
    const router = await startRouter({
      refuse: (order) => (order.value('NewLeaseDuration') === '0' ? undefined : 725),
    })
    const peer = await startPeer(router.group)
    expect((await peer.finding()).advice).toBeUndefined()
  })

  it('is asked again and again, and a new address takes the place of the old', async () => {
    let publicHost = PUBLIC
    const router = await startRouter({ publicHost: () => publicHost })
    const peer = await startPeer(router.group, { renewMs: 20 })
    await peer.finding()
    publicHost = '5.6.7.9'
    expect((await peer.finding(1)).found).toContain('/ip4/5.6.7.9/')
    expect(peer.addresses().map((one) => one.split('/')[2])).toEqual(['5.6.7.9'])
  })

  it('that has lost us is looked for again', async () => {
    let isLost = false
    const router = await startRouter({ refuse: () => (isLost ? 501 : undefined) })
    const peer = await startPeer(router.group, { renewMs: 20, answerMs: 300 })
    await peer.finding()
    isLost = true
    expect((await peer.finding(1)).advice).toBeDefined()
    expect(peer.addresses()).toEqual([])
    isLost = false
    expect((await peer.finding(2)).advice).toBeUndefined()
  })
})

describe('what does not let others in', () => {
  const NO_ROUTER = 'no router answers'
  const NO_GATEWAY = 'what answers does not forward ports'
  const NOT_PUBLIC = 'the router has no public address'
  const OR_BEHIND = ': it is not connected, or behind another router (NAT)'
  const answering = (text: string): RouterInit => ({ search: () => text })
  const describing = (description: NonNullable<RouterInit['description']>): RouterInit => ({ description })
  const order = (answer: string): RouterInit => ({ publicHost: () => answer })

  it.each<[string, RouterInit, string]>([
    ['garbage', answering('\0\u00ff'.repeat(900)), NO_ROUTER],
    ['nothing', answering(''), NO_ROUTER],
    ['no location', answering('HTTP/1.1 200 OK\r\nST: x\r\n\r\n'), NO_ROUTER],
    ['another machine', answering('HTTP/1.1 200 OK\r\nLOCATION: http://127.0.0.2/\r\n\r\n'), NO_ROUTER],
    ['no HTTP', answering('HTTP/1.1 200 OK\r\nLOCATION: file:///etc/passwd\r\n\r\n'), NO_ROUTER],
    ['nobody there', answering('HTTP/1.1 200 OK\r\nLOCATION: http://127.0.0.1:9/\r\n\r\n'), NO_GATEWAY],
    ['no XML', describing((response) => response.end('\0'.repeat(1000))), NO_GATEWAY],
    [
      'a service elsewhere',
      describing((response, usual) => response.end(usual.replace('/control<', 'http://127.0.0.2/control<'))),
      NO_GATEWAY,
    ],
    [
      'more than we read',
      describing((response, usual) => response.end(usual + ' '.repeat(64 << 10))),
      NO_GATEWAY,
    ],
    [
      'an answer that never ends',
      describing((response, usual) => void response.write(usual.slice(0, 20))),
      NO_GATEWAY,
    ],
    [
      'a way to elsewhere',
      describing((response) => response.writeHead(302, { location: '/elsewhere' }).end()),
      NO_GATEWAY,
    ],
    ['an address that is none', order('localhost'), NOT_PUBLIC + OR_BEHIND],
    ['no connection', order(''), NOT_PUBLIC + OR_BEHIND],
    ['another router before it', order('100.64.0.1'), `${NOT_PUBLIC} but 100.64.0.1${OR_BEHIND}`],
    ['a no', { refuse: () => 606 }, 'the router does not forward a port to us (its error 606)'],
    ['every port taken', { refuse: () => 718 }, 'the router does not forward a port to us (its error 718)'],
    ['no lease at all', { refuse: () => 725 }, 'the router does not forward a port to us (its error 725)'],
  ])('%s', async (_, init, found) => {
    const router = await startRouter(init)
    // Nobody's answer is waited for in vain; anybody else's as long as a busy machine needs.
    const peer = await startPeer(router.group, { answerMs: found === NO_ROUTER ? 200 : 2000 })
    const finding = await peer.finding()
    expect(finding.found).toBe(found)
    expect(finding.advice).toBeDefined()
    expect(peer.addresses()).toEqual([])
    await peer.host.stop()
    expect(router.actions('DeletePortMapping')).toEqual([])
  })

  it('a router that says no more when it is left, which is not waited for', async () => {
    const router = await startRouter({ isSilent: (action) => action === 'DeletePortMapping' })
    const peer = await startPeer(router.group, { stopMs: 50 })
    await peer.finding()
    await peer.host.stop()
    expect(router.actions('DeletePortMapping')).toHaveLength(1)
  })
})
