// Loaded into a peer's process before anything else (`node --import`): every TCP connection that it opens goes to the
// network of ours (network.ts) and says first who calls whom. The peer's own code is untouched, and believes that it dials
// directly.
import net from 'node:net'

const name = process.env.CHAOS_NAME
const port = Number(process.env.CHAOS_PORT)
const connect = net.Socket.prototype.connect

net.Socket.prototype.connect = function (...args) {
  // net.connect() hands over [options, callback] in one array.
  const holder = Array.isArray(args[0]) ? args[0] : args
  const wanted = holder[0]
  holder[0] = { ...wanted, host: '127.0.0.1', port }
  const socket = connect.apply(this, args)
  this.write(`${name} ${wanted.port}\n`)
  return socket
}
