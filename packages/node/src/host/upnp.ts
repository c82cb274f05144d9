import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { BlockList } from 'node:net'
import { networkInterfaces } from 'node:os'
import { systemClock } from '../clock.ts'
import {
  GROUP,
  mapPort,
  type Network,
  type Order,
  ordersTo,
  publicHostOf,
  readRouter,
  Refusal,
  type Router,
  search,
  type Service,
  unmapPort,
} from './router.ts'

/** What became of asking a router to let others in. */
export interface UpnpFinding {
  readonly found: string
  /** What to do instead, where nobody gets in so. */
  readonly advice?: string
}

/** The part of libp2p that this service uses. */
export interface UpnpComponents {
  readonly addressManager: {
    addPublicAddressMapping(host: string, port: number, publicHost: string, publicPort: number): void
    removePublicAddressMapping(host: string, port: number, publicHost: string, publicPort: number): void
    confirmObservedAddr(address: Multiaddr): void
    getAddresses(): Multiaddr[]
  }
  readonly transportManager: { getAddrs(): Multiaddr[] }
}

export interface Upnp {
  start(): void
  /** From here on, since libp2p starts its services before it listens. */
  ask(): void
  /** Takes back what was asked for. */
  stop(): Promise<void>
}

export interface UpnpInit {
  /** Told when it changes. */
  onFinding(finding: UpnpFinding): void
  /** Networks to look for a router in. @default the private ones that this machine is in */
  networks?(): readonly Network[]
  /** Where to ask for routers. @default UPnP's multicast group */
  readonly group?: { readonly host: string; readonly port: number }
  readonly timing?: typeof TIMING
}

/** What a router forwards to us. */
interface Mapping {
  readonly service: Service
  readonly host: string
  readonly port: number
  readonly publicHost: string
  readonly publicPort: number
}

interface Outcome {
  readonly mappings: readonly Mapping[]
  /** Where not all of our ports are among them. */
  readonly failure?: UpnpFinding
}

const TIMING = {
  /** Routers are asked to answer within two seconds. */
  answerMs: 3000,
  /** After a restart a router knows nothing of us, and may have another address. */
  renewMs: 600_000,
  stopMs: 2000,
}
const BY_HAND = 'forward a port by hand (--announce) or use a relay: docs/JOINING.md'
const NO_NETWORK: UpnpFinding = { found: 'this peer listens in no private IPv4 network: no router to ask' }
const NO_ROUTER: UpnpFinding = {
  found: 'no router answers',
  advice: `turn UPnP on in the router, let its answers (UDP) through this machine's firewall, or ${BY_HAND}`,
}
const NO_GATEWAY: UpnpFinding = {
  found: 'what answers does not forward ports',
  advice: `turn UPnP on in the router, or ${BY_HAND}`,
}

const RESERVED = new BlockList()
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const)
  RESERVED.addSubnet(network, bits)

/**
 * A libp2p service that asks the router to forward our ports (UPnP, Internet Gateway Device 1 and 2), announces where that
 * leads to us, and asks again every ten minutes. All that a router says is bounded and looked at before it is believed.
 */
export const upnp =
  (init: UpnpInit) =>
  (components: UpnpComponents): Upnp => {
    const { addressManager, transportManager } = components
    const { networks = privateNetworks, group = GROUP, timing = TIMING } = init
    const stopped = new AbortController()
    const isStopped = () => stopped.signal.aborted
    let router: Router | undefined
    let mappings: readonly Mapping[] = []
    let running = Promise.resolve()

    const portsIn = ({ host }: Network): number[] => {
      const listening = transportManager.getAddrs().map((address) => address.toString().split('/'))
      return listening
        .filter(([, , at, transport]) => at === host && transport === 'tcp')
        .map(([, , , , port]) => Number(port))
    }

    const announce = (next: readonly Mapping[]) => {
      const before = mappings
      mappings = next
      if (next.map(nameOf).join() === before.map(nameOf).join()) return
      for (const { host, port, publicHost, publicPort } of before)
        addressManager.removePublicAddressMapping(host, port, publicHost, publicPort)
      for (const { host, port, publicHost, publicPort } of next) {
        addressManager.addPublicAddressMapping(host, port, publicHost, publicPort)
        addressManager.confirmObservedAddr(multiaddr(`/ip4/${publicHost}/tcp/${publicPort}`))
      }
    }

    /** Has a router forward all ports that we listen on in its network. */
    const forward = async ({ network, services }: Router): Promise<Outcome> => {
      let failure = NO_GATEWAY
      for (const service of services) {
        const order = ordersTo(service, timing.answerMs, stopped.signal)
        const publicHost = await publicHostOf(order)
        if (publicHost !== undefined && !RESERVED.check(publicHost))
          return mapAll(order, service, network, publicHost)
        failure = notPublic(publicHost)
      }
      return { mappings: [], failure }
    }

    const mapAll = async (
      order: Order,
      service: Service,
      network: Network,
      publicHost: string,
    ): Promise<Outcome> => {
      const granted: Mapping[] = []
      for (const port of portsIn(network)) {
        const { host } = network
        const first = mappings.find((one) => one.port === port)?.publicPort ?? port
        try {
          const publicPort = await mapPort(order, host, port, first)
          granted.push({ service, host, port, publicHost, publicPort })
        } catch (error) {
          // What was granted is kept, to be given back.
          return { mappings: granted, failure: error instanceof Refusal ? refusal(error.number) : NO_GATEWAY }
        }
      }
      return { mappings: granted }
    }

    const attempt = async (): Promise<Outcome> => {
      try {
        if (router !== undefined) return await forward(router)
      } catch {
        // It hung up, was too slow or said too much.
      }
      return { mappings: [], failure: NO_GATEWAY }
    }

    const look = async (): Promise<Outcome> => {
      const places = networks().filter((network) => portsIn(network).length > 0)
      if (places.length === 0) return { mappings: [], failure: NO_NETWORK }
      if (places.some(({ host }) => host === router?.network.host)) {
        const outcome = await attempt()
        if (outcome.mappings.length > 0) return outcome
      }
      let outcome: Outcome = { mappings: [], failure: NO_ROUTER }
      for await (const { network, location } of search(places, group, timing.answerMs, stopped.signal)) {
        router = await readRouter(network, location, timing.answerMs, stopped.signal).catch(() => undefined)
        outcome = await attempt()
        if (outcome.mappings.length > 0) return outcome
      }
      return outcome
    }

    const run = async (): Promise<void> => {
      let said = ''
      while (!isStopped()) {
        const outcome = await look()
        if (isStopped()) {
          mappings = [...mappings, ...outcome.mappings]
          return
        }
        announce(outcome.mappings)
        const finding = outcome.failure ?? { found: `others reach us at ${reached().join(' and ')}` }
        if (finding.found !== said) init.onFinding(finding)
        said = finding.found
        await systemClock.sleep(timing.renewMs, stopped.signal)
      }
    }

    const reached = (): string[] => {
      const hosts = mappings.map(({ publicHost, publicPort }) => `/ip4/${publicHost}/tcp/${publicPort}/`)
      const addresses = addressManager.getAddresses().map(String)
      return addresses.filter((address) => hosts.some((host) => address.startsWith(host)))
    }

    return {
      start: () => undefined,
      ask() {
        running = run()
      },
      async stop() {
        stopped.abort()
        await running
        await Promise.allSettled(
          mappings.map(({ service, publicPort }) => unmapPort(ordersTo(service, timing.stopMs), publicPort)),
        )
      },
    }
  }

function nameOf({ host, port, publicHost, publicPort }: Mapping): string {
  return `${host}:${port} ${publicHost}:${publicPort}`
}

function notPublic(host: string | undefined): UpnpFinding {
  const but = host === undefined ? '' : ` but ${host}`
  return {
    found: `the router has no public address${but}: it is not connected, or behind another router (NAT)`,
    advice: 'ask the provider for a public address, or use a relay: docs/JOINING.md',
  }
}

function refusal(number: number): UpnpFinding {
  return { found: `the router does not forward a port to us (its error ${number})`, advice: BY_HAND }
}

function privateNetworks(): Network[] {
  return Object.values(networkInterfaces())
    .flatMap((all) => all ?? [])
    .filter(({ family, internal, address }) => family === 'IPv4' && !internal && RESERVED.check(address))
    .map(({ address, cidr }) => ({ host: address, bits: Number(cidr?.split('/')[1] ?? 32) }))
}
