// UPnP to routers (Internet Gateway Device 1 and 2). All that they say is bounded, and looked at before it is believed.
import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { EventEmitter, on } from 'node:events'
import { BlockList, isIPv4 } from 'node:net'

/** Our own address, and how many bits of it are the network's. */
export interface Network {
  readonly host: string
  readonly bits: number
}

/** A connection to the outside that a router has, and the URL that takes orders for it. */
export interface Service {
  readonly type: string
  readonly control: URL
}

export interface Router {
  readonly network: Network
  readonly services: readonly Service[]
}

/** Asks a router's connection for something. */
export type Order = (action: string, values?: Values) => Promise<Answer>
type Values = Readonly<Record<string, string | number>>
interface Answer {
  readonly text: string
  /** The router's error number, or HTTP's where it gives none. */
  readonly refused: number | undefined
}

/** Two renewals may fail; whoever dies is forgotten soon. */
const LEASE_SECONDS = 1800
const MOST_BYTES = 64 << 10
/** Anyone in the network may claim to be a router. */
const MOST_ROUTERS = 4
const MOST_SERVICES = 4
const MOST_PORTS_TRIED = 6
/** Where UPnP's devices listen. */
export const GROUP = { host: '239.255.255.250', port: 1900 }
const DEVICES = [1, 2].map((version) => `urn:schemas-upnp-org:device:InternetGatewayDevice:${version}`)
const SERVICES = ['WANIPConnection:2', 'WANIPConnection:1', 'WANPPPConnection:1'].map(
  (name) => `urn:schemas-upnp-org:service:${name}`,
)
/** Error numbers of AddPortMapping. */
const PORT_TAKEN = 718
const ONLY_PERMANENT = 725

interface Found {
  readonly network: Network
  readonly location: URL
}

/** Where routers say that they are, as they answer. */
export async function* search(
  networks: readonly Network[],
  group: { readonly host: string; readonly port: number },
  ms: number,
  signal: AbortSignal,
): AsyncGenerator<Found> {
  const routers = new EventEmitter()
  const seen = new Set<string>()
  const end = () => routers.emit('end')
  const timer = setTimeout(end, ms)
  signal.addEventListener('abort', end)
  const found = on(routers, 'router', { close: ['end'] }) as AsyncIterable<[Found]>
  const sockets = networks.map((network) => {
    const socket = createSocket('udp4')
    socket.on('error', () => undefined) // Nobody answers in a network that is down.
    socket.on('message', (message, { address }) => {
      const location = locationIn(message, address, network)
      if (location === undefined || seen.has(location.href) || seen.size >= MOST_ROUTERS) return
      seen.add(location.href)
      routers.emit('router', { network, location })
    })
    socket.bind(0, network.host, () => {
      try {
        socket.setMulticastInterface(network.host)
      } catch {
        return // It is gone since we looked.
      }
      for (const device of [...DEVICES, ...DEVICES]) socket.send(question(device), group.port, group.host) // UDP loses some.
    })
    return socket
  })
  try {
    if (signal.aborted) return
    for await (const [one] of found) yield one
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', end)
    for (const socket of sockets) socket.close()
  }
}

function question(device: string): string {
  const { host, port } = GROUP
  return `M-SEARCH * HTTP/1.1\r\nHOST: ${host}:${port}\r\nMAN: "ssdp:discover"\r\nMX: 2\r\nST: ${device}\r\n\r\n`
}

/** Only on the machine that answers, and only in our own network: nobody sends us elsewhere. */
function locationIn(message: Buffer, from: string, { host, bits }: Network): URL | undefined {
  const text = message.toString('latin1', 0, 2048)
  const location = /^location:[ \t]*(\S{1,500})[ \t]*\r?$/im.exec(text)?.[1]
  const ours = new BlockList()
  ours.addSubnet(host, bits)
  if (!text.startsWith('HTTP/1.1 200') || location === undefined || !ours.check(from)) return undefined
  return urlAt(location, from)
}

function urlAt(text: string, host: string, base?: string): URL | undefined {
  if (!URL.canParse(text, base)) return undefined
  const url = new URL(text, base)
  return url.protocol === 'http:' && url.hostname === host ? url : undefined
}

/** @returns undefined when it has no connection of a kind that we know */
export async function readRouter(
  network: Network,
  location: URL,
  ms: number,
  outer: AbortSignal,
): Promise<Router | undefined> {
  const { text } = await within(ms, outer, (signal) => read(location, { signal }))
  const base = element(text, 'URLBase') ?? location.href
  const services = text.split('<service>').flatMap((part) => {
    const type = SERVICES.find((one) => one === element(part, 'serviceType'))
    const path = element(part, 'controlURL')?.replaceAll('&amp;', '&')
    const control = path === undefined ? undefined : urlAt(path, location.hostname, base)
    return type === undefined || control === undefined ? [] : [{ type, control }]
  })
  return services.length === 0 ? undefined : { network, services: services.slice(0, MOST_SERVICES) }
}

/** A router's no. Only its number is told: its words are anybody's. */
export class Refusal extends Error {
  readonly number: number

  constructor(number: number) {
    super(`error ${number}`)
    this.number = number
  }
}

/** @param ms - for each answer */
export const ordersTo =
  (service: Service, ms: number, outer?: AbortSignal): Order =>
  (action, values = {}) =>
    within(ms, outer, (signal) => giveOrder(service, action, values, signal))

/** @returns undefined where it has none */
export async function publicHostOf(order: Order): Promise<string | undefined> {
  const host = element((await order('GetExternalIPAddress')).text, 'NewExternalIPAddress') ?? ''
  return isIPv4(host) ? host : undefined
}

/**
 * @returns the port outside, the first that is free
 * @throws Refusal
 */
export async function mapPort(order: Order, host: string, port: number, first: number): Promise<number> {
  let publicPort = first
  let lease = LEASE_SECONDS
  for (let tries = 1; ; tries++) {
    const { refused } = await order('AddPortMapping', {
      ...portValues(publicPort),
      NewInternalPort: port,
      NewInternalClient: host,
      NewEnabled: 1,
      NewPortMappingDescription: 'comigs',
      NewLeaseDuration: lease,
    })
    if (refused === undefined) return publicPort
    if (refused === ONLY_PERMANENT && lease > 0) lease = 0
    else if (refused === PORT_TAKEN && tries < MOST_PORTS_TRIED) publicPort = randomInt(20_000, 60_000)
    else throw new Refusal(refused)
  }
}

export const unmapPort = (order: Order, publicPort: number): Promise<Answer> =>
  order('DeletePortMapping', portValues(publicPort))

function portValues(publicPort: number): Values {
  return { NewRemoteHost: '', NewExternalPort: publicPort, NewProtocol: 'TCP' }
}

async function giveOrder(
  { type, control }: Service,
  action: string,
  values: Values,
  signal: AbortSignal,
): Promise<Answer> {
  const inside = Object.entries(values)
    .map(([name, value]) => `<${name}>${value}</${name}>`)
    .join('')
  const soap = 'http://schemas.xmlsoap.org/soap'
  const { ok, status, text } = await read(control, {
    method: 'POST',
    headers: { 'content-type': 'text/xml; charset="utf-8"', soapaction: `"${type}#${action}"` },
    body: `<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="${soap}/envelope/" s:encodingStyle="${soap}/encoding/"><s:Body><u:${action} xmlns:u="${type}">${inside}</u:${action}></s:Body></s:Envelope>\r\n`,
    signal,
  })
  if (ok) return { text, refused: undefined }
  const number = element(text, 'errorCode') ?? ''
  return { text, refused: /^\d{1,4}$/.test(number) ? Number(number) : status }
}

/** An answer that is not too long, from where we asked. */
async function read(
  url: URL,
  init: RequestInit,
): Promise<{ readonly ok: boolean; readonly status: number; readonly text: string }> {
  const response = await fetch(url, { ...init, redirect: 'error' })
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += part.byteLength
    if (bytes > MOST_BYTES) throw new Error('a router says more than we read')
    parts.push(part)
  }
  return { ok: response.ok, status: response.status, text: Buffer.concat(parts).toString('utf8') }
}

/** What the first element of that name says. The few that are needed hold no others, so this is parser enough. */
function element(text: string, name: string): string | undefined {
  return new RegExp(`<${name}(?: [^>]{0,200})?>([^<]{0,500})</${name}>`).exec(text)?.[1]?.trim()
}

/** Ends what takes longer, or is not waited for any more. */
async function within<T>(
  ms: number,
  outer: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const inner = new AbortController()
  const end = () => {
    inner.abort()
  }
  const timer = setTimeout(end, ms)
  outer?.addEventListener('abort', end)
  if (outer?.aborted === true) end()
  try {
    return await work(inner.signal)
  } finally {
    clearTimeout(timer)
    outer?.removeEventListener('abort', end)
  }
}
