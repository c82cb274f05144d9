import * as Comlink from 'comlink'

interface Thrown {
  readonly name: string
  readonly message: string
  readonly stack?: string | undefined
  readonly detail?: unknown
}

/** Comlink passes errors without our `detail`. Both sides of the wall call this before they talk. */
export function carryErrorDetails(): void {
  const inner = Comlink.transferHandlers.get('throw') as unknown as Comlink.TransferHandler<
    { value: unknown },
    unknown
  >
  Comlink.transferHandlers.set('throw', {
    ...inner,
    serialize: ({ value }) => {
      const thrown: Thrown =
        value instanceof Error
          ? {
              name: value.name,
              message: value.message,
              stack: value.stack,
              detail: (value as { detail?: unknown }).detail,
            }
          : { name: 'Error', message: String(value) }
      return [thrown, []]
    },
    deserialize: (thrown) => {
      const { name, message, stack, detail } = thrown as Thrown
      throw Object.assign(new Error(message), { name, stack }, detail === undefined ? {} : { detail })
    },
  })
}
