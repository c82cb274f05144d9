import { createSocket } from 'node:dgram'

const GROUP = '224.0.0.251'
const PROBE_MS = 2000

/** Whether this machine hears what it says to the group: some containers do not. */
export async function hasMulticast(): Promise<boolean> {
  const socket = createSocket({ type: 'udp4', reuseAddr: true })
  try {
    return await new Promise<boolean>((resolve, reject) => {
      socket.on('error', reject)
      socket.on('message', () => {
        resolve(true)
      })
      socket.bind(0, () => {
        socket.addMembership(GROUP)
        socket.send('comigs', socket.address().port, GROUP)
      })
      setTimeout(resolve, PROBE_MS, false).unref()
    })
  } catch {
    return false
  } finally {
    socket.close()
  }
}
