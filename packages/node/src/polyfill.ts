/**
 * libp2p 2.10 uses Promise.withResolvers, which Node has from version 22. Import this before anything of libp2p.
 */
const promise = Promise as { withResolvers?: unknown }

promise.withResolvers ??= function withResolvers<T>() {
  let resolve!: (value: T | PromiseLike<T>) => void
  let reject!: (reason?: unknown) => void
  const made = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise: made, resolve, reject }
}
