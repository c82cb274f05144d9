import type { InferenceSession, Tensor } from 'onnxruntime-common'
import { ONNX_TYPE } from './builder.ts'
import { ModelProto } from './pb/onnx.ts'

/** Takes float32 arrays to a provider's own memory and back. */
export interface Carrier {
  toDevice(tensor: Tensor): Promise<Tensor>
  fromDevice(tensor: Tensor): Promise<Tensor>
  dispose(): void
}

/**
 * ONNX Runtime for Node has no call for that, but a graph that does nothing moves what goes in to where its output is
 * asked for.
 */
export function createCarrier(
  library: { readonly InferenceSession: typeof InferenceSession },
  options: InferenceSession.SessionOptions,
): Carrier {
  const sessions: Promise<InferenceSession>[] = []
  const mover = (location: Tensor.DataLocation) => {
    let session: Promise<InferenceSession> | undefined
    return async (x: Tensor): Promise<Tensor> => {
      if (session === undefined) {
        session = library.InferenceSession.create(nothing(), {
          ...options,
          preferredOutputLocation: location,
        })
        sessions.push(session)
      }
      return (await (await session).run({ x }))['y']!
    }
  }
  return {
    toDevice: mover('gpu-buffer'),
    fromDevice: mover('cpu'),
    dispose() {
      for (const session of sessions) void session.then((one) => one.release())
    },
  }
}

/** y = x, of any shape. */
function nothing(): Uint8Array {
  const type = { tensorType: { elemType: ONNX_TYPE.float32 } }
  return ModelProto.encode({
    irVersion: 9,
    producerName: 'comigs',
    opsetImport: [{ domain: '', version: 20 }],
    graph: {
      name: 'nothing',
      node: [{ name: 'y', opType: 'Identity', domain: '', input: ['x'], output: ['y'], attribute: [] }],
      initializer: [],
      input: [{ name: 'x', type }],
      output: [{ name: 'y', type }],
      valueInfo: [],
    },
  })
}
