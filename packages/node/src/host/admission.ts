import { reasonOf } from '@comigs/model/light'
import { generateKey } from '@libp2p/pnet'
import { peerIdFromString } from '@libp2p/peer-id'
import { readFile } from 'node:fs/promises'
import { NodeError } from '../errors.ts'

/** Who may talk to this peer at all. */
export interface Admission {
  /** A private federation's key, in libp2p's format: who does not have it cannot even say who it is. */
  readonly psk: Uint8Array | undefined
  admits(peer: string): boolean
}

export const EVERYONE: Admission = { psk: undefined, admits: () => true }

const KEY_BYTES = 95
const KEY_FORMAT = /^\/key\/swarm\/psk\/1\.0\.0\/\n\/base16\/\n[0-9a-f]{64}\s*$/

/** A new key file for a private federation. */
export function makeKey(): string {
  const bytes = new Uint8Array(KEY_BYTES)
  generateKey(bytes)
  return `${new TextDecoder().decode(bytes)}\n`
}

/**
 * @param options.psk - a key file
 * @param options.allow - peer ids, and files with one a line; undefined: everyone
 * @throws NodeError `OPTION_INVALID`
 */
export async function readAdmission(options: {
  readonly psk: string | undefined
  readonly allow: readonly string[] | undefined
}): Promise<Admission> {
  const psk = options.psk === undefined ? undefined : await readKey(options.psk)
  if (options.allow === undefined) return { ...EVERYONE, psk }
  const allowed = new Set<string>()
  for (const entry of options.allow) {
    if (isPeer(entry)) allowed.add(entry)
    else for (const peer of await readPeers(entry)) allowed.add(peer)
  }
  return { psk, admits: (peer) => allowed.has(peer) }
}

async function readKey(path: string): Promise<Uint8Array> {
  const text = await read('--psk', path, 'is not a file that can be read')
  if (!KEY_FORMAT.test(text)) {
    const reason = 'is not a key file; `npx comigs-peer psk` makes one'
    throw new NodeError({ code: 'OPTION_INVALID', option: '--psk', value: path, reason })
  }
  return new TextEncoder().encode(text.trimEnd())
}

/** One id a line; what follows a # is for people. */
async function readPeers(path: string): Promise<string[]> {
  const lines = (await read('--allow', path, 'is neither a peer id nor a file that can be read'))
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
  const peers = lines.filter((line) => line !== '')
  const wrong = peers.find((peer) => !isPeer(peer))
  if (wrong !== undefined) {
    const reason = `has a line that is not a peer id: ${wrong.slice(0, 60)}`
    throw new NodeError({ code: 'OPTION_INVALID', option: '--allow', value: path, reason })
  }
  return peers
}

async function read(option: string, path: string, unless: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const reason = `${unless} (${reasonOf(error)})`
    throw new NodeError({ code: 'OPTION_INVALID', option, value: path, reason }, { cause: error })
  }
}

function isPeer(text: string): boolean {
  try {
    return peerIdFromString(text).type === 'Ed25519'
  } catch {
    return false
  }
}
