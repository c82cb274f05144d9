// Generated from ../messages.proto by `npm run generate`; do not edit.
// @ts-nocheck
/* eslint-disable import/export */
/* eslint-disable complexity */
/* eslint-disable @typescript-eslint/no-namespace */
/* eslint-disable @typescript-eslint/no-unnecessary-boolean-literal-compare */
/* eslint-disable @typescript-eslint/no-empty-interface */
/* eslint-disable import/consistent-type-specifier-style */
/* eslint-disable @typescript-eslint/no-unused-vars */

import { decodeMessage, encodeMessage, enumeration, MaxLengthError, message } from 'protons-runtime'
import { alloc as uint8ArrayAlloc } from 'uint8arrays/alloc'
import type { Codec, DecodeOptions } from 'protons-runtime'
import type { Uint8ArrayList } from 'uint8arraylist'

export interface SignedAnnouncement {
  body: Uint8Array
  signature: Uint8Array
}

export namespace SignedAnnouncement {
  let _codec: Codec<SignedAnnouncement>

  export const codec = (): Codec<SignedAnnouncement> => {
    if (_codec == null) {
      _codec = message<SignedAnnouncement>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.body != null && obj.body.byteLength > 0) {
            w.uint32(10)
            w.bytes(obj.body)
          }

          if (obj.signature != null && obj.signature.byteLength > 0) {
            w.uint32(18)
            w.bytes(obj.signature)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            body: uint8ArrayAlloc(0),
            signature: uint8ArrayAlloc(0),
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.body = reader.bytes()
                break
              }
              case 2: {
                obj.signature = reader.bytes()
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

  export const encode = (obj: Partial<SignedAnnouncement>): Uint8Array => {
    return encodeMessage(obj, SignedAnnouncement.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<SignedAnnouncement>,
  ): SignedAnnouncement => {
    return decodeMessage(buf, SignedAnnouncement.codec(), opts)
  }
}

export interface Announcement {
  version: number
  federation: Uint8Array
  author: string
  epoch: number
  sequence: number
  round: number
  length: number
  payloadHash: Uint8Array
  copyHash: Uint8Array
  degree: number
  perplexity?: number
}

export namespace Announcement {
  let _codec: Codec<Announcement>

  export const codec = (): Codec<Announcement> => {
    if (_codec == null) {
      _codec = message<Announcement>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.version != null && obj.version !== 0) {
            w.uint32(8)
            w.uint32(obj.version)
          }

          if (obj.federation != null && obj.federation.byteLength > 0) {
            w.uint32(18)
            w.bytes(obj.federation)
          }

          if (obj.author != null && obj.author !== '') {
            w.uint32(26)
            w.string(obj.author)
          }

          if (obj.epoch != null && obj.epoch !== 0) {
            w.uint32(32)
            w.uint64Number(obj.epoch)
          }

          if (obj.sequence != null && obj.sequence !== 0) {
            w.uint32(40)
            w.uint64Number(obj.sequence)
          }

          if (obj.round != null && obj.round !== 0) {
            w.uint32(48)
            w.uint32(obj.round)
          }

          if (obj.length != null && obj.length !== 0) {
            w.uint32(56)
            w.uint32(obj.length)
          }

          if (obj.payloadHash != null && obj.payloadHash.byteLength > 0) {
            w.uint32(66)
            w.bytes(obj.payloadHash)
          }

          if (obj.copyHash != null && obj.copyHash.byteLength > 0) {
            w.uint32(74)
            w.bytes(obj.copyHash)
          }

          if (obj.degree != null && obj.degree !== 0) {
            w.uint32(80)
            w.uint32(obj.degree)
          }

          if (obj.perplexity != null) {
            w.uint32(93)
            w.float(obj.perplexity)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            version: 0,
            federation: uint8ArrayAlloc(0),
            author: '',
            epoch: 0,
            sequence: 0,
            round: 0,
            length: 0,
            payloadHash: uint8ArrayAlloc(0),
            copyHash: uint8ArrayAlloc(0),
            degree: 0,
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.version = reader.uint32()
                break
              }
              case 2: {
                obj.federation = reader.bytes()
                break
              }
              case 3: {
                obj.author = reader.string()
                break
              }
              case 4: {
                obj.epoch = reader.uint64Number()
                break
              }
              case 5: {
                obj.sequence = reader.uint64Number()
                break
              }
              case 6: {
                obj.round = reader.uint32()
                break
              }
              case 7: {
                obj.length = reader.uint32()
                break
              }
              case 8: {
                obj.payloadHash = reader.bytes()
                break
              }
              case 9: {
                obj.copyHash = reader.bytes()
                break
              }
              case 10: {
                obj.degree = reader.uint32()
                break
              }
              case 11: {
                obj.perplexity = reader.float()
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

  export const encode = (obj: Partial<Announcement>): Uint8Array => {
    return encodeMessage(obj, Announcement.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<Announcement>,
  ): Announcement => {
    return decodeMessage(buf, Announcement.codec(), opts)
  }
}

export interface Hello {
  version: number
  manifest: Uint8Array
  addresses: string[]
  time?: number
}

export namespace Hello {
  let _codec: Codec<Hello>

  export const codec = (): Codec<Hello> => {
    if (_codec == null) {
      _codec = message<Hello>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.version != null && obj.version !== 0) {
            w.uint32(8)
            w.uint32(obj.version)
          }

          if (obj.manifest != null && obj.manifest.byteLength > 0) {
            w.uint32(18)
            w.bytes(obj.manifest)
          }

          if (obj.addresses != null) {
            for (const value of obj.addresses) {
              w.uint32(26)
              w.string(value)
            }
          }

          if (obj.time != null) {
            w.uint32(32)
            w.uint64Number(obj.time)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            version: 0,
            manifest: uint8ArrayAlloc(0),
            addresses: [],
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.version = reader.uint32()
                break
              }
              case 2: {
                obj.manifest = reader.bytes()
                break
              }
              case 3: {
                if (opts.limits?.addresses != null && obj.addresses.length === opts.limits.addresses) {
                  throw new MaxLengthError('Decode error - map field "addresses" had too many elements')
                }

                obj.addresses.push(reader.string())
                break
              }
              case 4: {
                obj.time = reader.uint64Number()
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

  export const encode = (obj: Partial<Hello>): Uint8Array => {
    return encodeMessage(obj, Hello.codec())
  }

  export const decode = (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Hello>): Hello => {
    return decodeMessage(buf, Hello.codec(), opts)
  }
}

export enum Status {
  OK = 'OK',
  NOT_FOUND = 'NOT_FOUND',
  BUSY = 'BUSY',
  WRONG_FEDERATION = 'WRONG_FEDERATION',
  BAD_REQUEST = 'BAD_REQUEST',
}

enum __StatusValues {
  OK = 0,
  NOT_FOUND = 1,
  BUSY = 2,
  WRONG_FEDERATION = 3,
  BAD_REQUEST = 4,
}

export namespace Status {
  export const codec = (): Codec<Status> => {
    return enumeration<Status>(__StatusValues)
  }
}

export interface PayloadRequest {
  hash: Uint8Array
  offset: number
  length: number
}

export namespace PayloadRequest {
  let _codec: Codec<PayloadRequest>

  export const codec = (): Codec<PayloadRequest> => {
    if (_codec == null) {
      _codec = message<PayloadRequest>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.hash != null && obj.hash.byteLength > 0) {
            w.uint32(10)
            w.bytes(obj.hash)
          }

          if (obj.offset != null && obj.offset !== 0) {
            w.uint32(16)
            w.uint32(obj.offset)
          }

          if (obj.length != null && obj.length !== 0) {
            w.uint32(24)
            w.uint32(obj.length)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            hash: uint8ArrayAlloc(0),
            offset: 0,
            length: 0,
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.hash = reader.bytes()
                break
              }
              case 2: {
                obj.offset = reader.uint32()
                break
              }
              case 3: {
                obj.length = reader.uint32()
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

  export const encode = (obj: Partial<PayloadRequest>): Uint8Array => {
    return encodeMessage(obj, PayloadRequest.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<PayloadRequest>,
  ): PayloadRequest => {
    return decodeMessage(buf, PayloadRequest.codec(), opts)
  }
}

export interface PayloadAnswer {
  status: Status
  length: number
  proof: Uint8Array
}

export namespace PayloadAnswer {
  let _codec: Codec<PayloadAnswer>

  export const codec = (): Codec<PayloadAnswer> => {
    if (_codec == null) {
      _codec = message<PayloadAnswer>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.status != null && __StatusValues[obj.status] !== 0) {
            w.uint32(8)
            Status.codec().encode(obj.status, w)
          }

          if (obj.length != null && obj.length !== 0) {
            w.uint32(16)
            w.uint32(obj.length)
          }

          if (obj.proof != null && obj.proof.byteLength > 0) {
            w.uint32(26)
            w.bytes(obj.proof)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            status: Status.OK,
            length: 0,
            proof: uint8ArrayAlloc(0),
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.status = Status.codec().decode(reader)
                break
              }
              case 2: {
                obj.length = reader.uint32()
                break
              }
              case 3: {
                obj.proof = reader.bytes()
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

  export const encode = (obj: Partial<PayloadAnswer>): Uint8Array => {
    return encodeMessage(obj, PayloadAnswer.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<PayloadAnswer>,
  ): PayloadAnswer => {
    return decodeMessage(buf, PayloadAnswer.codec(), opts)
  }
}

export interface CopyRequest {
  author: string
}

export namespace CopyRequest {
  let _codec: Codec<CopyRequest>

  export const codec = (): Codec<CopyRequest> => {
    if (_codec == null) {
      _codec = message<CopyRequest>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.author != null && obj.author !== '') {
            w.uint32(10)
            w.string(obj.author)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            author: '',
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.author = reader.string()
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

  export const encode = (obj: Partial<CopyRequest>): Uint8Array => {
    return encodeMessage(obj, CopyRequest.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<CopyRequest>,
  ): CopyRequest => {
    return decodeMessage(buf, CopyRequest.codec(), opts)
  }
}

export interface CopyAnswer {
  status: Status
  length: number
  announcements: SignedAnnouncement[]
}

export namespace CopyAnswer {
  let _codec: Codec<CopyAnswer>

  export const codec = (): Codec<CopyAnswer> => {
    if (_codec == null) {
      _codec = message<CopyAnswer>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.status != null && __StatusValues[obj.status] !== 0) {
            w.uint32(8)
            Status.codec().encode(obj.status, w)
          }

          if (obj.length != null && obj.length !== 0) {
            w.uint32(16)
            w.uint32(obj.length)
          }

          if (obj.announcements != null) {
            for (const value of obj.announcements) {
              w.uint32(26)
              SignedAnnouncement.codec().encode(value, w)
            }
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            status: Status.OK,
            length: 0,
            announcements: [],
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.status = Status.codec().decode(reader)
                break
              }
              case 2: {
                obj.length = reader.uint32()
                break
              }
              case 3: {
                if (
                  opts.limits?.announcements != null &&
                  obj.announcements.length === opts.limits.announcements
                ) {
                  throw new MaxLengthError('Decode error - map field "announcements" had too many elements')
                }

                obj.announcements.push(
                  SignedAnnouncement.codec().decode(reader, reader.uint32(), {
                    limits: opts.limits?.announcements$,
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

  export const encode = (obj: Partial<CopyAnswer>): Uint8Array => {
    return encodeMessage(obj, CopyAnswer.codec())
  }

  export const decode = (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<CopyAnswer>): CopyAnswer => {
    return decodeMessage(buf, CopyAnswer.codec(), opts)
  }
}

export interface PeersRequest {
  count: number
  near: string
  outside: boolean
}

export namespace PeersRequest {
  let _codec: Codec<PeersRequest>

  export const codec = (): Codec<PeersRequest> => {
    if (_codec == null) {
      _codec = message<PeersRequest>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.count != null && obj.count !== 0) {
            w.uint32(8)
            w.uint32(obj.count)
          }

          if (obj.near != null && obj.near !== '') {
            w.uint32(18)
            w.string(obj.near)
          }

          if (obj.outside != null && obj.outside !== false) {
            w.uint32(24)
            w.bool(obj.outside)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            count: 0,
            near: '',
            outside: false,
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.count = reader.uint32()
                break
              }
              case 2: {
                obj.near = reader.string()
                break
              }
              case 3: {
                obj.outside = reader.bool()
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

  export const encode = (obj: Partial<PeersRequest>): Uint8Array => {
    return encodeMessage(obj, PeersRequest.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<PeersRequest>,
  ): PeersRequest => {
    return decodeMessage(buf, PeersRequest.codec(), opts)
  }
}

export interface PeersAnswer {
  peers: PeerAddresses[]
}

export namespace PeersAnswer {
  let _codec: Codec<PeersAnswer>

  export const codec = (): Codec<PeersAnswer> => {
    if (_codec == null) {
      _codec = message<PeersAnswer>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.peers != null) {
            for (const value of obj.peers) {
              w.uint32(10)
              PeerAddresses.codec().encode(value, w)
            }
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            peers: [],
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                if (opts.limits?.peers != null && obj.peers.length === opts.limits.peers) {
                  throw new MaxLengthError('Decode error - map field "peers" had too many elements')
                }

                obj.peers.push(
                  PeerAddresses.codec().decode(reader, reader.uint32(), {
                    limits: opts.limits?.peers$,
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

  export const encode = (obj: Partial<PeersAnswer>): Uint8Array => {
    return encodeMessage(obj, PeersAnswer.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<PeersAnswer>,
  ): PeersAnswer => {
    return decodeMessage(buf, PeersAnswer.codec(), opts)
  }
}

export interface PeerAddresses {
  peer: string
  addresses: string[]
  ageSeconds: number
}

export namespace PeerAddresses {
  let _codec: Codec<PeerAddresses>

  export const codec = (): Codec<PeerAddresses> => {
    if (_codec == null) {
      _codec = message<PeerAddresses>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.peer != null && obj.peer !== '') {
            w.uint32(10)
            w.string(obj.peer)
          }

          if (obj.addresses != null) {
            for (const value of obj.addresses) {
              w.uint32(18)
              w.string(value)
            }
          }

          if (obj.ageSeconds != null && obj.ageSeconds !== 0) {
            w.uint32(24)
            w.uint32(obj.ageSeconds)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            peer: '',
            addresses: [],
            ageSeconds: 0,
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.peer = reader.string()
                break
              }
              case 2: {
                if (opts.limits?.addresses != null && obj.addresses.length === opts.limits.addresses) {
                  throw new MaxLengthError('Decode error - map field "addresses" had too many elements')
                }

                obj.addresses.push(reader.string())
                break
              }
              case 3: {
                obj.ageSeconds = reader.uint32()
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

  export const encode = (obj: Partial<PeerAddresses>): Uint8Array => {
    return encodeMessage(obj, PeerAddresses.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<PeerAddresses>,
  ): PeerAddresses => {
    return decodeMessage(buf, PeerAddresses.codec(), opts)
  }
}

export interface AverageHeader {
  status: Status
  length: number
  hash: Uint8Array
  noise: number
}

export namespace AverageHeader {
  let _codec: Codec<AverageHeader>

  export const codec = (): Codec<AverageHeader> => {
    if (_codec == null) {
      _codec = message<AverageHeader>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.status != null && __StatusValues[obj.status] !== 0) {
            w.uint32(8)
            Status.codec().encode(obj.status, w)
          }

          if (obj.length != null && obj.length !== 0) {
            w.uint32(16)
            w.uint32(obj.length)
          }

          if (obj.hash != null && obj.hash.byteLength > 0) {
            w.uint32(26)
            w.bytes(obj.hash)
          }

          if (obj.noise != null && obj.noise !== 0) {
            w.uint32(33)
            w.double(obj.noise)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            status: Status.OK,
            length: 0,
            hash: uint8ArrayAlloc(0),
            noise: 0,
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.status = Status.codec().decode(reader)
                break
              }
              case 2: {
                obj.length = reader.uint32()
                break
              }
              case 3: {
                obj.hash = reader.bytes()
                break
              }
              case 4: {
                obj.noise = reader.double()
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

  export const encode = (obj: Partial<AverageHeader>): Uint8Array => {
    return encodeMessage(obj, AverageHeader.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<AverageHeader>,
  ): AverageHeader => {
    return decodeMessage(buf, AverageHeader.codec(), opts)
  }
}

export interface AverageDone {
  hash: Uint8Array
}

export namespace AverageDone {
  let _codec: Codec<AverageDone>

  export const codec = (): Codec<AverageDone> => {
    if (_codec == null) {
      _codec = message<AverageDone>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.hash != null && obj.hash.byteLength > 0) {
            w.uint32(10)
            w.bytes(obj.hash)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            hash: uint8ArrayAlloc(0),
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.hash = reader.bytes()
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

  export const encode = (obj: Partial<AverageDone>): Uint8Array => {
    return encodeMessage(obj, AverageDone.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<AverageDone>,
  ): AverageDone => {
    return decodeMessage(buf, AverageDone.codec(), opts)
  }
}

export interface StoredState {
  epoch: number
  sequence: number
  round: number
  copy: Uint8Array
  announcement: Uint8Array
  payload: Uint8Array
}

export namespace StoredState {
  let _codec: Codec<StoredState>

  export const codec = (): Codec<StoredState> => {
    if (_codec == null) {
      _codec = message<StoredState>(
        (obj, w, opts = {}) => {
          if (opts.lengthDelimited !== false) {
            w.fork()
          }

          if (obj.epoch != null && obj.epoch !== 0) {
            w.uint32(8)
            w.uint64Number(obj.epoch)
          }

          if (obj.sequence != null && obj.sequence !== 0) {
            w.uint32(16)
            w.uint64Number(obj.sequence)
          }

          if (obj.round != null && obj.round !== 0) {
            w.uint32(24)
            w.uint32(obj.round)
          }

          if (obj.copy != null && obj.copy.byteLength > 0) {
            w.uint32(34)
            w.bytes(obj.copy)
          }

          if (obj.announcement != null && obj.announcement.byteLength > 0) {
            w.uint32(42)
            w.bytes(obj.announcement)
          }

          if (obj.payload != null && obj.payload.byteLength > 0) {
            w.uint32(50)
            w.bytes(obj.payload)
          }

          if (opts.lengthDelimited !== false) {
            w.ldelim()
          }
        },
        (reader, length, opts = {}) => {
          const obj: any = {
            epoch: 0,
            sequence: 0,
            round: 0,
            copy: uint8ArrayAlloc(0),
            announcement: uint8ArrayAlloc(0),
            payload: uint8ArrayAlloc(0),
          }

          const end = length == null ? reader.len : reader.pos + length

          while (reader.pos < end) {
            const tag = reader.uint32()

            switch (tag >>> 3) {
              case 1: {
                obj.epoch = reader.uint64Number()
                break
              }
              case 2: {
                obj.sequence = reader.uint64Number()
                break
              }
              case 3: {
                obj.round = reader.uint32()
                break
              }
              case 4: {
                obj.copy = reader.bytes()
                break
              }
              case 5: {
                obj.announcement = reader.bytes()
                break
              }
              case 6: {
                obj.payload = reader.bytes()
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

  export const encode = (obj: Partial<StoredState>): Uint8Array => {
    return encodeMessage(obj, StoredState.codec())
  }

  export const decode = (
    buf: Uint8Array | Uint8ArrayList,
    opts?: DecodeOptions<StoredState>,
  ): StoredState => {
    return decodeMessage(buf, StoredState.codec(), opts)
  }
}
