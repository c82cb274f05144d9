// Health check: the peer's own /healthz.
const [, port] = /:(\d+)$/.exec(process.env.COMIGS_PEER_HTTP ?? ':9464') ?? []
const { ok } = await fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(5000) }).catch(
  () => ({ ok: false }),
)
process.exit(ok ? 0 : 1)
