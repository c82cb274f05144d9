// Generated from ../onnx.proto by `npm run generate`; do not edit.
// @ts-nocheck
/* eslint-disable import/export */
/* eslint-disable complexity */
/* eslint-disable @typescript-eslint/no-namespace */
/* eslint-disable @typescript-eslint/no-unnecessary-boolean-literal-compare */
/* eslint-disable @typescript-eslint/no-empty-interface */
/* eslint-disable import/consistent-type-specifier-style */
/* eslint-disable @typescript-eslint/no-unused-vars */

import { decodeMessage, encodeMessage, MaxLengthError, message } from 'protons-runtime'
import { alloc as uint8ArrayAlloc } from 'uint8arrays/alloc'
import type { Codec, DecodeOptions } from 'protons-runtime'
import type { Uint8ArrayList } from 'uint8arraylist'

export interface ModelProto {
  irVersion: number
  producerName: string
  graph?: GraphProto
  opsetImport: OperatorSetIdProto[]
}

export namespace ModelProto {
  let _codec: Codec<ModelProto>

  export const codec = (): Codec<ModelProto> => {
    if (_codec == null) {
      _codec = message<ModelProto>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.irVersion != null && obj.irVersion !== 0) {
            w.uint32(8)
            w.int64Number(obj.irVersion)
          }

          if (obj.producerName != null && obj.producerName !== '') {
            w.uint32(18)
            w.string(obj.producerName)
          }

          if (obj.graph != null) {
            w.uint32(58)
            GraphProto.codec().encode(obj.graph, w)
          }

          if (obj.opsetImport != null) {
            for (const value of obj.opsetImport) {
              w.uint32(66)
              OperatorSetIdProto.codec().encode(value, w)
            }
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            irVersion: 0,
            producerName: '',
            opsetImport: [],
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.irVersion = reader.int64Number()
                break
              }
              case 2: {
                obj.producerName = reader.string()
                break
              }
              case 7: {
                obj.graph = GraphProto.codec().decode(reader, reader.uint32(), {
                  limits: opts.limits?.graph,
                })
                break
              }
              case 8: {
                if (opts.limits?.opsetImport != null && obj.opsetImport.length === opts.limits.opsetImport) {
                  throw new MaxLengthError('Decode error - map field "opsetImport" had too many elements')
                }

                obj.opsetImport.push(
                  OperatorSetIdProto.codec().decode(reader, reader.uint32(), {
                    limits: opts.limits?.opsetImport$,
                  }),
                )
                break
              }
              default: {
                reader.skipType(tag & 7)
                break
              }
            }
          }

          return obj
        },
      )
    }

    return _codec
  }

  export const encode = (obj: Partial<ModelProto>): Uint8Array => {
    return encodeMessage(obj, ModelProto.codec())
  }

  export const decode = (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<ModelProto>): ModelProto => {
    return decodeMessage(buf, ModelProto.codec(), opts)
  }
}

export interface OperatorSetIdProto {
  domain: string
  version: number
}

export namespace OperatorSetIdProto {
  let _codec: Codec<OperatorSetIdProto>

  export const codec = (): Codec<OperatorSetIdProto> => {
    if (_codec == null) {
      _codec = message<OperatorSetIdProto>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.domain != null && obj.domain !== '') {
            w.uint32(10)
            w.string(obj.domain)
          }

          if (obj.version != null && obj.version !== 0) {
            w.uint32(16)
            w.int64Number(obj.version)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            domain: '',
            version: 0,
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.domain = reader.string()
                break
              }
              case 2: {
                obj.version = reader.int64Number()
                break
              }
              default: {
                reader.skipType(tag & 7)
                break
              }
            }
          }

          return obj
        },
      )
    }

    return _codec
  }

  export const encode = (obj: Partial<OperatorSetIdProto>): Uint8Array => {
    return encodeMessage(obj, OperatorSetIdProto.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<OperatorSetIdProto>,
  ): OperatorSetIdProto => {
    return decodeMessage(buf, OperatorSetIdProto.codec(), opts)
  }
}

export interface GraphProto {
  node: NodeProto[]
  name: string
  initializer: TensorProto[]
  input: ValueInfoProto[]
  output: ValueInfoProto[]
  valueInfo: ValueInfoProto[]
}

export namespace GraphProto {
  let _codec: Codec<GraphProto>

  export const codec = (): Codec<GraphProto> => {
    if (_codec == null) {
      _codec = message<GraphProto>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.node != null) {
            for (const value of obj.node) {
              w.uint32(10)
              NodeProto.codec().encode(value, w)
            }
          }

          if (obj.name != null && obj.name !== '') {
            w.uint32(18)
            w.string(obj.name)
          }

          if (obj.initializer != null) {
            for (const value of obj.initializer) {
              w.uint32(42)
              TensorProto.codec().encode(value, w)
            }
          }

          if (obj.input != null) {
            for (const value of obj.input) {
              w.uint32(90)
              ValueInfoProto.codec().encode(value, w)
            }
          }

          if (obj.output != null) {
            for (const value of obj.output) {
              w.uint32(98)
              ValueInfoProto.codec().encode(value, w)
            }
          }

          if (obj.valueInfo != null) {
            for (const value of obj.valueInfo) {
              w.uint32(106)
              ValueInfoProto.codec().encode(value, w)
            }
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            node: [],
            name: '',
            initializer: [],
            input: [],
            output: [],
            valueInfo: [],
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                if (opts.limits?.node != null && obj.node.length === opts.limits.node) {
                  throw new MaxLengthError('Decode error - map field "node" had too many elements')
                }

                obj.node.push(
                  NodeProto.codec().decode(reader, reader.uint32(), {
                    limits: opts.limits?.node$,
                  }),
                )
                break
              }
              case 2: {
                obj.name = reader.string()
                break
              }
              case 5: {
                if (opts.limits?.initializer != null && obj.initializer.length === opts.limits.initializer) {
                  throw new MaxLengthError('Decode error - map field "initializer" had too many elements')
                }

                obj.initializer.push(
                  TensorProto.codec().decode(reader, reader.uint32(), {
                    limits: opts.limits?.initializer$,
                  }),
                )
                break
              }
              case 11: {
                if (opts.limits?.input != null && obj.input.length === opts.limits.input) {
                  throw new MaxLengthError('Decode error - map field "input" had too many elements')
                }

                obj.input.push(
                  ValueInfoProto.codec().decode(reader, reader.uint32(), {
                    limits: opts.limits?.input$,
                  }),
                )
                break
              }
              case 12: {
                if (opts.limits?.output != null && obj.output.length === opts.limits.output) {
                  throw new MaxLengthError('Decode error - map field "output" had too many elements')
                }

                obj.output.push(
                  ValueInfoProto.codec().decode(reader, reader.uint32(), {
                    limits: opts.limits?.output$,
                  }),
                )
                break
              }
              case 13: {
                if (opts.limits?.valueInfo != null && obj.valueInfo.length === opts.limits.valueInfo) {
                  throw new MaxLengthError('Decode error - map field "valueInfo" had too many elements')
                }

                obj.valueInfo.push(
                  ValueInfoProto.codec().decode(reader, reader.uint32(), {
                    limits: opts.limits?.valueInfo$,
                  }),
                )
                break
              }
              default: {
                reader.skipType(tag & 7)
                break
              }
            }
          }

          return obj
        },
      )
    }

    return _codec
  }

  export const encode = (obj: Partial<GraphProto>): Uint8Array => {
    return encodeMessage(obj, GraphProto.codec())
  }

  export const decode = (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<GraphProto>): GraphProto => {
    return decodeMessage(buf, GraphProto.codec(), opts)
  }
}

export interface NodeProto {
  input: string[]
  output: string[]
  name: string
  opType: string
  attribute: AttributeProto[]
  domain: string
}

export namespace NodeProto {
  let _codec: Codec<NodeProto>

  export const codec = (): Codec<NodeProto> => {
    if (_codec == null) {
      _codec = message<NodeProto>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.input != null) {
            for (const value of obj.input) {
              w.uint32(10)
              w.string(value)
            }
          }

          if (obj.output != null) {
            for (const value of obj.output) {
              w.uint32(18)
              w.string(value)
            }
          }

          if (obj.name != null && obj.name !== '') {
            w.uint32(26)
            w.string(obj.name)
          }

          if (obj.opType != null && obj.opType !== '') {
            w.uint32(34)
            w.string(obj.opType)
          }

          if (obj.attribute != null) {
            for (const value of obj.attribute) {
              w.uint32(42)
              AttributeProto.codec().encode(value, w)
            }
          }

          if (obj.domain != null && obj.domain !== '') {
            w.uint32(58)
            w.string(obj.domain)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            input: [],
            output: [],
            name: '',
            opType: '',
            attribute: [],
            domain: '',
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                if (opts.limits?.input != null && obj.input.length === opts.limits.input) {
                  throw new MaxLengthError('Decode error - map field "input" had too many elements')
                }

                obj.input.push(reader.string())
                break
              }
              case 2: {
                if (opts.limits?.output != null && obj.output.length === opts.limits.output) {
                  throw new MaxLengthError('Decode error - map field "output" had too many elements')
                }

                obj.output.push(reader.string())
                break
              }
              case 3: {
                obj.name = reader.string()
                break
              }
              case 4: {
                obj.opType = reader.string()
                break
              }
              case 5: {
                if (opts.limits?.attribute != null && obj.attribute.length === opts.limits.attribute) {
                  throw new MaxLengthError('Decode error - map field "attribute" had too many elements')
                }

                obj.attribute.push(
                  AttributeProto.codec().decode(reader, reader.uint32(), {
                    limits: opts.limits?.attribute$,
                  }),
                )
                break
              }
              case 7: {
                obj.domain = reader.string()
                break
              }
              default: {
                reader.skipType(tag & 7)
                break
              }
            }
          }

          return obj
        },
      )
    }

    return _codec
  }

  export const encode = (obj: Partial<NodeProto>): Uint8Array => {
    return encodeMessage(obj, NodeProto.codec())
  }

  export const decode = (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<NodeProto>): NodeProto => {
    return decodeMessage(buf, NodeProto.codec(), opts)
  }
}

export interface AttributeProto {
  name: string
  f: number
  i: bigint
  s: Uint8Array
  ints: bigint[]
  type: number
}

export namespace AttributeProto {
  let _codec: Codec<AttributeProto>

  export const codec = (): Codec<AttributeProto> => {
    if (_codec == null) {
      _codec = message<AttributeProto>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.name != null && obj.name !== '') {
            w.uint32(10)
            w.string(obj.name)
          }

          if (obj.f != null && obj.f !== 0) {
            w.uint32(21)
            w.float(obj.f)
          }

          if (obj.i != null && obj.i !== 0n) {
            w.uint32(24)
            w.int64(obj.i)
          }

          if (obj.s != null && obj.s.byteLength > 0) {
            w.uint32(34)
            w.bytes(obj.s)
          }

          if (obj.ints != null) {
            for (const value of obj.ints) {
              w.uint32(64)
              w.int64(value)
            }
          }

          if (obj.type != null && obj.type !== 0) {
            w.uint32(160)
            w.int32(obj.type)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            name: '',
            f: 0,
            i: 0n,
            s: uint8ArrayAlloc(0),
            ints: [],
            type: 0,
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.name = reader.string()
                break
              }
              case 2: {
                obj.f = reader.float()
                break
              }
              case 3: {
                obj.i = reader.int64()
                break
              }
              case 4: {
                obj.s = reader.bytes()
                break
              }
              case 8: {
                if (opts.limits?.ints != null && obj.ints.length === opts.limits.ints) {
                  throw new MaxLengthError('Decode error - map field "ints" had too many elements')
                }

                obj.ints.push(reader.int64())
                break
              }
              case 20: {
                obj.type = reader.int32()
                break
              }
              default: {
                reader.skipType(tag & 7)
                break
              }
            }
          }

          return obj
        },
      )
    }

    return _codec
  }

  export const encode = (obj: Partial<AttributeProto>): Uint8Array => {
    return encodeMessage(obj, AttributeProto.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<AttributeProto>,
  ): AttributeProto => {
    return decodeMessage(buf, AttributeProto.codec(), opts)
  }
}

export interface TensorProto {
  dims: number[]
  dataType: number
  name: string
  rawData: Uint8Array
}

export namespace TensorProto {
  let _codec: Codec<TensorProto>

  export const codec = (): Codec<TensorProto> => {
    if (_codec == null) {
      _codec = message<TensorProto>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.dims != null) {
            for (const value of obj.dims) {
              w.uint32(8)
              w.int64Number(value)
            }
          }

          if (obj.dataType != null && obj.dataType !== 0) {
            w.uint32(16)
            w.int32(obj.dataType)
          }

          if (obj.name != null && obj.name !== '') {
            w.uint32(66)
            w.string(obj.name)
          }

          if (obj.rawData != null && obj.rawData.byteLength > 0) {
            w.uint32(74)
            w.bytes(obj.rawData)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            dims: [],
            dataType: 0,
            name: '',
            rawData: uint8ArrayAlloc(0),
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                if (opts.limits?.dims != null && obj.dims.length === opts.limits.dims) {
                  throw new MaxLengthError('Decode error - map field "dims" had too many elements')
                }

                obj.dims.push(reader.int64Number())
                break
              }
              case 2: {
                obj.dataType = reader.int32()
                break
              }
              case 8: {
                obj.name = reader.string()
                break
              }
              case 9: {
                obj.rawData = reader.bytes()
                break
              }
              default: {
                reader.skipType(tag & 7)
                break
              }
            }
          }

          return obj
        },
      )
    }

    return _codec
  }

  export const encode = (obj: Partial<TensorProto>): Uint8Array => {
    return encodeMessage(obj, TensorProto.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<TensorProto>,
  ): TensorProto => {
    return decodeMessage(buf, TensorProto.codec(), opts)
  }
}

export interface ValueInfoProto {
  name: string
  type?: TypeProto
}

export namespace ValueInfoProto {
  let _codec: Codec<ValueInfoProto>

  export const codec = (): Codec<ValueInfoProto> => {
    if (_codec == null) {
      _codec = message<ValueInfoProto>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.name != null && obj.name !== '') {
            w.uint32(10)
            w.string(obj.name)
          }

          if (obj.type != null) {
            w.uint32(18)
            TypeProto.codec().encode(obj.type, w)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            name: '',
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.name = reader.string()
                break
              }
              case 2: {
                obj.type = TypeProto.codec().decode(reader, reader.uint32(), {
                  limits: opts.limits?.type,
                })
                break
              }
              default: {
                reader.skipType(tag & 7)
                break
              }
            }
          }

          return obj
        },
      )
    }

    return _codec
  }

  export const encode = (obj: Partial<ValueInfoProto>): Uint8Array => {
    return encodeMessage(obj, ValueInfoProto.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<ValueInfoProto>,
  ): ValueInfoProto => {
    return decodeMessage(buf, ValueInfoProto.codec(), opts)
  }
}

export interface TypeProto {
  tensorType?: TensorTypeProto
}

export namespace TypeProto {
  let _codec: Codec<TypeProto>

  export const codec = (): Codec<TypeProto> => {
    if (_codec == null) {
      _codec = message<TypeProto>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.tensorType != null) {
            w.uint32(10)
            TensorTypeProto.codec().encode(obj.tensorType, w)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {}

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.tensorType = TensorTypeProto.codec().decode(reader, reader.uint32(), {
                  limits: opts.limits?.tensorType,
                })
                break
              }
              default: {
                reader.skipType(tag & 7)
                break
              }
            }
          }

          return obj
        },
      )
    }

    return _codec
  }

  export const encode = (obj: Partial<TypeProto>): Uint8Array => {
    return encodeMessage(obj, TypeProto.codec())
  }

  export const decode = (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<TypeProto>): TypeProto => {
    return decodeMessage(buf, TypeProto.codec(), opts)
  }
}

export interface TensorTypeProto {
  elemType: number
  shape?: TensorShapeProto
}

export namespace TensorTypeProto {
  let _codec: Codec<TensorTypeProto>

  export const codec = (): Codec<TensorTypeProto> => {
    if (_codec == null) {
      _codec = message<TensorTypeProto>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.elemType != null && obj.elemType !== 0) {
            w.uint32(8)
            w.int32(obj.elemType)
          }

          if (obj.shape != null) {
            w.uint32(18)
            TensorShapeProto.codec().encode(obj.shape, w)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            elemType: 0,
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.elemType = reader.int32()
                break
              }
              case 2: {
                obj.shape = TensorShapeProto.codec().decode(reader, reader.uint32(), {
                  limits: opts.limits?.shape,
                })
                break
              }
              default: {
                reader.skipType(tag & 7)
                break
              }
            }
          }

          return obj
        },
      )
    }

    return _codec
  }

  export const encode = (obj: Partial<TensorTypeProto>): Uint8Array => {
    return encodeMessage(obj, TensorTypeProto.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<TensorTypeProto>,
  ): TensorTypeProto => {
    return decodeMessage(buf, TensorTypeProto.codec(), opts)
  }
}

export interface TensorShapeProto {
  dim: DimensionProto[]
}

export namespace TensorShapeProto {
  let _codec: Codec<TensorShapeProto>

  export const codec = (): Codec<TensorShapeProto> => {
    if (_codec == null) {
      _codec = message<TensorShapeProto>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.dim != null) {
            for (const value of obj.dim) {
              w.uint32(10)
              DimensionProto.codec().encode(value, w)
            }
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            dim: [],
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                if (opts.limits?.dim != null && obj.dim.length === opts.limits.dim) {
                  throw new MaxLengthError('Decode error - map field "dim" had too many elements')
                }

                obj.dim.push(
                  DimensionProto.codec().decode(reader, reader.uint32(), {
                    limits: opts.limits?.dim$,
                  }),
                )
                break
              }
              default: {
                reader.skipType(tag & 7)
                break
              }
            }
          }

          return obj
        },
      )
    }

    return _codec
  }

  export const encode = (obj: Partial<TensorShapeProto>): Uint8Array => {
    return encodeMessage(obj, TensorShapeProto.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<TensorShapeProto>,
  ): TensorShapeProto => {
    return decodeMessage(buf, TensorShapeProto.codec(), opts)
  }
}

export interface DimensionProto {
  dimValue: number
}

export namespace DimensionProto {
  let _codec: Codec<DimensionProto>

  export const codec = (): Codec<DimensionProto> => {
    if (_codec == null) {
      _codec = message<DimensionProto>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.dimValue != null && obj.dimValue !== 0) {
            w.uint32(8)
            w.int64Number(obj.dimValue)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            dimValue: 0,
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.dimValue = reader.int64Number()
                break
              }
              default: {
                reader.skipType(tag & 7)
                break
              }
            }
          }

          return obj
        },
      )
    }

    return _codec
  }

  export const encode = (obj: Partial<DimensionProto>): Uint8Array => {
    return encodeMessage(obj, DimensionProto.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<DimensionProto>,
  ): DimensionProto => {
    return decodeMessage(buf, DimensionProto.codec(), opts)
  }
}
