import type { PeerConfig } from '../../packages/node/src/peer.ts'

/** A peer in this process, with a federation of its own on loopback. */
export function peerConfig(
  config: Pick<PeerConfig, 'state' | 'base' | 'data'> & Partial<PeerConfig>,
): PeerConfig {
  return {
    name: 'test',
    bootstrap: [],
    manifest: undefined,
    federation: undefined,
    psk: undefined,
    allow: undefined,
    baseDtype: 'auto',
    experts: 2,
    batch: 2,
    context: 32,
    rounds: Infinity,
    localSteps: undefined,
    waitForPeers: 0,
    stay: false,
    evaluateEvery: 1,
    evaluateBatches: 1,
    strategy: 'comigs',
    seed: 1,
    engine: 'auto',
    threads: 1,
    publishPerplexity: true,
    measureDistance: false,
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    crowded: true,
    relay: false,
    mdns: false,
    upnp: false,
    http: { host: '127.0.0.1', port: 0 },
    httpNames: [],
    httpToken: undefined,
    ...config,
  }
}
