import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { seeded } from '../../packages/protocol/test/support/random.ts'
import { type Network, startNetwork } from './network.ts'

let network: Network
let echo: Server
let port: number
const callers: Socket[] = []

beforeEach(async () => {
  network = await startNetwork(seeded(1))
  echo = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  echo.listen(0, '127.0.0.1')
  await once(echo, 'listening')
  port = (echo.address() as AddressInfo).port
  network.listens('echo', port)
})
afterEach(async () => {
  for (const caller of callers.splice(0)) caller.destroy()
  await network.stop()
  echo.close()
})

/** As a peer's process does by way of detour.mjs. */
function call(name: string) {
  const socket = connect({ port: network.port, host: '127.0.0.1' })
  callers.push(socket)
  socket.on('error', () => undefined)
  socket.write(`${name} ${port}\n`)
  let heard = ''
  socket.on('data', (data) => (heard += data.toString()))
  return {
    socket,
    heard: () => heard,
    async hears(text: string) {
      while (!heard.endsWith(text)) await once(socket, 'data')
    },
  }
}

describe('the network of the chaos suite', () => {
  it('carries everything, in order, through delay and loss', async () => {
    network.weather({ delayMs: 2, loss: 0.05 })
    const text = Array.from({ length: 20_000 }, (_, i) => String(i)).join()
    const ada = call('ada')
    for (let at = 0; at < text.length; at += 1000) ada.socket.write(text.slice(at, at + 1000))
    await ada.hears('19999')
    expect(ada.heard()).toBe(text)
    ada.socket.end()
    await once(ada.socket, 'close')
  })

  it('keeps groups apart until it is healed, and loses nothing', async () => {
    const [ada, ben] = [call('ada'), call('ben')]
    ada.socket.write('before')
    await ada.hears('before')
    network.partition([['ada'], ['ben', 'echo']])
    ada.socket.write(', meanwhile')
    ben.socket.write('anyone?')
    await ben.hears('anyone?')
    expect(ada.heard()).toBe('before')
    const carla = call('carla')
    carla.socket.write('hello')
    network.heal()
    await ada.hears('meanwhile')
    await carla.hears('hello')
    expect(ada.heard()).toBe('before, meanwhile')
  })

  it('breaks connections when told to, and only those', async () => {
    const [ada, ben] = [call('ada'), call('ben')]
    ada.socket.write('hello')
    ben.socket.write('hello')
    await Promise.all([ada.hears('hello'), ben.hears('hello')])
    const closed = new Promise((resolve) => ada.socket.once('close', resolve))
    network.reset('ada')
    await closed
    ben.socket.write(' again')
    await ben.hears('again')
  })

  it('forgets connections without a word; new ones work', async () => {
    const old = call('ada')
    old.socket.write('hello')
    await old.hears('hello')
    network.silence('ada')
    old.socket.write(', anyone?')
    const fresh = call('ada')
    fresh.socket.write('hello again')
    await fresh.hears('again')
    expect(old.heard()).toBe('hello')
    expect(old.socket.destroyed).toBe(false)
  })
})
