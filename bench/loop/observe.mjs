// Loaded into a peer before anything else: notes how late timers of its main thread are, how much of that the thread
// was computing, and when gossipsub's heart beats. Answers SIGUSR2 with one JSON line on stderr, and starts anew.
import { GossipSub } from '@chainsafe/libp2p-gossipsub'
import { readFileSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'

const TICK_MS = 5

if (isMainThread) {
  let late = []
  let busy = []
  let beats = []

  // Nanoseconds that the main thread ran, and that it waited for a core; Linux only.
  const scheduled = () => {
    try {
      return readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ').map(Number)
    } catch {
      return [0, 0]
    }
  }
  let due = performance.now() + TICK_MS
  let [ran] = scheduled()
  const tick = () => {
    const now = performance.now()
    const [runs] = scheduled()
    late.push(Math.max(0, now - due))
    busy.push((runs - ran) / 1e6)
    ran = runs
    due = now + TICK_MS
    setTimeout(tick, TICK_MS).unref()
  }
  setTimeout(tick, TICK_MS).unref()

  const { heartbeat } = GossipSub.prototype
  GossipSub.prototype.heartbeat = function (...args) {
    beats.push(performance.now())
    return heartbeat.apply(this, args)
  }

  process.on('SIGUSR2', () => {
    const report = { lateMs: late, busyMs: busy, beatsMs: beats }
    process.stderr.write(`observed ${JSON.stringify(report)}\n`)
    late = []
    busy = []
    beats = []
  })
}
