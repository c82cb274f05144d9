import { backend_util, slice_util, util } from '@tensorflow/tfjs-core'
import { type DType, sizeOf, type TensorSpec, type Value } from '../graph.ts'
import { ONNX_TYPE, type OnnxBuilder } from './builder.ts'
import type { Attrs, Inputs, Kernel, LowerContext } from './kernel.ts'
import { logSoftmax, matMul, split } from './spelled-out.ts'

/** tfjs's own kernels, lowered to ONNX operators one for one wherever there is one. */
export const TFJS_KERNELS: Readonly<Record<string, Kernel>> = {
  Add: arithmetic('Add'),
  Sub: arithmetic('Sub'),
  Multiply: arithmetic('Mul'),
  RealDiv: arithmetic('Div'),
  Maximum: arithmetic('Max'),
  Minimum: arithmetic('Min'),
  Greater: comparison('Greater'),
  GreaterEqual: comparison('GreaterOrEqual'),
  Less: comparison('Less'),
  LessEqual: comparison('LessOrEqual'),
  Equal: comparison('Equal'),
  LogicalAnd: comparison('And'),
  LogicalNot: unary('Not'),
  Neg: unary('Neg'),
  Exp: unary('Exp'),
  Log: unary('Log'),
  Sqrt: unary('Sqrt'),
  Tanh: unary('Tanh'),
  Sigmoid: unary('Sigmoid'),
  Abs: unary('Abs'),
  Reciprocal: unary('Reciprocal'),
  Erf: unary('Erf'),
  Square: {
    shape: ({ x }) => like(x!),
    lower: (onnx, c) => [onnx.op('Mul', [c.name('x'), c.name('x')])],
  },
  Rsqrt: {
    shape: ({ x }) => like(x!),
    lower: (onnx, c) => [onnx.op('Reciprocal', [onnx.op('Sqrt', [c.name('x')])])],
  },
  Identity: { stored: ['x'], shape: ({ x }) => ({ alias: x! }), lower: unreachable },
  Cast: {
    shape: ({ x }, { dtype }) => (x!.dtype === dtype ? { alias: x! } : one(x!.shape, dtype as DType)),
    lower: (onnx, c) => [
      onnx.op('Cast', [c.name('x')], { attrs: { to: ONNX_TYPE[c.node.outputs[0]!.dtype] } }),
    ],
  },
  Reshape: {
    shape: ({ x }, attrs) => {
      const shape = util.inferFromImplicitShape(attrs['shape'] as number[], sizeOf(x!.shape))
      return util.arraysEqual(shape, [...x!.shape]) ? { alias: x! } : one(shape, x!.dtype)
    },
    lower: reshape('x'),
  },
  ExpandDims: {
    shape: ({ input }, { dim }) => {
      const shape = [...input!.shape]
      const axis = dim as number
      shape.splice(axis < 0 ? axis + shape.length + 1 : axis, 0, 1)
      return one(shape, input!.dtype)
    },
    lower: reshape('input'),
  },
  Transpose: {
    shape: ({ x }, { perm }) =>
      one(
        (perm as number[]).map((axis) => x!.shape[axis]!),
        x!.dtype,
      ),
    lower: (onnx, c) => [
      onnx.op('Transpose', [c.name('x')], { attrs: { perm: c.attrs['perm'] as number[] } }),
    ],
  },
  BatchMatMul: {
    shape: ({ a, b }, { transposeA, transposeB }) => {
      const rank = Math.max(a!.shape.length, b!.shape.length)
      const batch = broadcast(a!.shape.slice(0, -2), b!.shape.slice(0, -2))
      const m = a!.shape.at(transposeA === true ? -1 : -2)!
      const n = b!.shape.at(transposeB === true ? -2 : -1)!
      return one([...batch, m, n].slice(-rank), a!.dtype)
    },
    lower: (onnx, c) => {
      const transposeA = c.attrs['transposeA'] === true
      const transposeB = c.attrs['transposeB'] === true
      const rank = c.value('a').shape.length // tfjs gives both operands the same rank
      return [matMul(onnx, c.name('a'), c.name('b'), { rank, transposeA, transposeB })]
    },
  },
  Softmax: {
    shape: ({ logits }) => like(logits!),
    lower: (onnx, c) => [
      onnx.op('Softmax', [c.name('logits')], { attrs: { axis: c.attrs['dim'] as number } }),
    ],
  },
  LogSoftmax: {
    shape: ({ logits }) => like(logits!),
    lower: (onnx, c) => [logSoftmax(onnx, c.name('logits'))], // tfjs has it over the last axis only
  },
  Sum: reduction('ReduceSum', 'axis'),
  Mean: meanReduction(),
  Max: reduction('ReduceMax', 'reductionIndices'),
  Slice: {
    shape: ({ x }, { begin, size }) => {
      const [, $size] = sliceParams(x!, begin, size)
      return util.arraysEqual($size, [...x!.shape]) ? { alias: x! } : one($size, x!.dtype)
    },
    lower: (onnx, c) => {
      const x = c.value('x')
      const [begin, size] = sliceParams(x, c.attrs['begin'], c.attrs['size'])
      // Only the axes that are cut: fewer is faster in ONNX Runtime.
      const axes = size.map((_, axis) => axis).filter((axis) => size[axis] !== x.shape[axis])
      return [
        onnx.op('Slice', [
          c.name('x'),
          onnx.ints(axes.map((axis) => begin[axis]!)),
          onnx.ints(axes.map((axis) => begin[axis]! + size[axis]!)),
          onnx.ints(axes),
        ]),
      ]
    },
  },
  Concat: {
    shape: (inputs, { axis }) => {
      const parts = Object.values(inputs)
      const at = positive(axis as number, parts[0]!.shape.length)
      return one(
        backend_util.computeOutShape(
          parts.map((p) => [...p.shape]),
          at,
        ),
        parts[0]!.dtype,
      )
    },
    lower: (onnx, c) => [
      onnx.op('Concat', operands(c), {
        attrs: { axis: positive(c.attrs['axis'] as number, c.value('0').shape.length) },
      }),
    ],
  },
  Pack: {
    shape: (inputs, { axis }) => {
      const parts = Object.values(inputs)
      const shape = [...parts[0]!.shape]
      shape.splice(positive(axis as number, shape.length + 1), 0, parts.length)
      return one(shape, parts[0]!.dtype)
    },
    lower: (onnx, c) => {
      const axis = positive(c.attrs['axis'] as number, c.value('0').shape.length + 1)
      const unsqueezed = operands(c).map((part) => onnx.op('Unsqueeze', [part, onnx.ints([axis])]))
      return [onnx.op('Concat', unsqueezed, { attrs: { axis } })]
    },
  },
  Unpack: {
    shape: ({ value }, { axis }) => {
      const at = positive(axis as number, value!.shape.length)
      const shape = value!.shape.filter((_, i) => i !== at)
      return {
        outputs: Array.from({ length: value!.shape[at]! }, () => ({ shape, dtype: value!.dtype })),
        single: false,
      }
    },
    lower: (onnx, c) => {
      const axis = positive(c.attrs['axis'] as number, c.value('value').shape.length)
      const sizes = c.node.outputs.map(() => 1)
      const parts = split(onnx, c.name('value'), sizes, axis)
      return parts.map((part) => onnx.op('Squeeze', [part, onnx.ints([axis])]))
    },
  },
  SplitV: {
    shape: ({ x }, { numOrSizeSplits, axis }) => {
      const at = positive(axis as number, x!.shape.length)
      const sizes = splitSizes(x!, numOrSizeSplits, at)
      const outputs = sizes.map((size) => ({
        shape: x!.shape.map((d, i) => (i === at ? size : d)),
        dtype: x!.dtype,
      }))
      return { outputs, single: false }
    },
    lower: (onnx, c) => {
      const x = c.value('x')
      const axis = positive(c.attrs['axis'] as number, x.shape.length)
      const sizes = splitSizes(x, c.attrs['numOrSizeSplits'], axis)
      return split(onnx, c.name('x'), sizes, axis)
    },
  },
  GatherV2: {
    shape: ({ x, indices }, { axis, batchDims }) => {
      if (batchDims !== 0) throw new Error('gather with batch dimensions has no lowering')
      const at = positive(axis as number, x!.shape.length)
      return one([...x!.shape.slice(0, at), ...indices!.shape, ...x!.shape.slice(at + 1)], x!.dtype)
    },
    lower: (onnx, c) => [
      onnx.op('Gather', [c.name('x'), c.name('indices')], {
        attrs: { axis: positive(c.attrs['axis'] as number, c.value('x').shape.length) },
      }),
    ],
  },
  Select: {
    shape: ({ condition, t, e }) => one(broadcast(condition!.shape, broadcast(t!.shape, e!.shape)), t!.dtype),
    lower: (onnx, c) => [onnx.op('Where', [c.name('condition'), c.name('t'), c.name('e')])],
  },
  ZerosLike: { shape: ({ x }) => filled(x!.shape, 0, x!.dtype), lower: unreachable },
  OnesLike: { shape: ({ x }) => filled(x!.shape, 1, x!.dtype), lower: unreachable },
  Fill: {
    shape: (_, { shape, value, dtype }) =>
      filled(shape as number[], value as number, (dtype as DType | undefined) ?? 'float32'),
    lower: unreachable,
  },
  Tile: {
    shape: ({ x }, { reps }) =>
      one(
        x!.shape.map((d, i) => d * (reps as number[])[i]!),
        x!.dtype,
      ),
    lower: (onnx, c) => [onnx.op('Tile', [c.name('x'), onnx.ints(c.attrs['reps'] as number[])])],
  },
  PadV2: {
    shape: ({ x }, { paddings }) =>
      one(
        x!.shape.map((d, i) => d + (paddings as number[][])[i]![0]! + (paddings as number[][])[i]![1]!),
        x!.dtype,
      ),
    lower: (onnx, c) => {
      const paddings = c.attrs['paddings'] as [number, number][]
      const pads = onnx.ints([...paddings.map((p) => p[0]), ...paddings.map((p) => p[1])])
      const value = filled([], c.attrs['constantValue'] as number, c.value('x').dtype)
      return [
        onnx.op('Pad', [
          c.name('x'),
          pads,
          onnx.constant({ ...c.value('x'), id: -1, shape: [] }, value.constant),
        ]),
      ]
    },
  },
  Cumsum: {
    shape: ({ x }) => like(x!),
    lower: (onnx, c) => {
      const attrs = { exclusive: Number(c.attrs['exclusive']), reverse: Number(c.attrs['reverse']) }
      return [onnx.op('CumSum', [c.name('x'), onnx.ints([c.attrs['axis'] as number])], { attrs })]
    },
  },
}

function one(shape: readonly number[], dtype: DType): { outputs: TensorSpec[] } {
  return { outputs: [{ shape, dtype }] }
}

const like = (x: Value) => one(x.shape, x.dtype)

function unreachable(): never {
  throw new Error('this kernel leaves no node behind')
}

function broadcast(a: readonly number[], b: readonly number[]): number[] {
  return backend_util.assertAndGetBroadcastShape([...a], [...b])
}

function arithmetic(opType: string): Kernel {
  return {
    shape: ({ a, b }) => one(broadcast(a!.shape, b!.shape), a!.dtype),
    lower: (onnx, c) => [onnx.op(opType, [c.name('a'), c.name('b')])],
  }
}

function comparison(opType: string): Kernel {
  return {
    shape: ({ a, b }) => one(broadcast(a!.shape, b!.shape), 'bool'),
    lower: (onnx, c) => [onnx.op(opType, [c.name('a'), c.name('b')])],
  }
}

function unary(opType: string): Kernel {
  return { shape: ({ x }) => like(x!), lower: (onnx, c) => [onnx.op(opType, [c.name('x')])] }
}

function reduction(opType: string, axisAttr: string): Kernel {
  const axesOf = (x: Value, attrs: Attrs) =>
    util.parseAxisParam((attrs[axisAttr] ?? null) as number[], [...x.shape])
  return {
    shape: ({ x }, attrs) => {
      const axes = axesOf(x!, attrs)
      if (axes.length === 0) return { alias: x! }
      const shape = x!.shape.map((d, i) => (axes.includes(i) ? 1 : d))
      return one(attrs['keepDims'] === true ? shape : shape.filter((_, i) => !axes.includes(i)), x!.dtype)
    },
    lower: (onnx, c) => {
      const axes = axesOf(c.value('x'), c.attrs)
      return [
        onnx.op(opType, [c.name('x'), onnx.ints(axes)], {
          attrs: { keepdims: Number(c.attrs['keepDims'] === true) },
        }),
      ]
    },
  }
}

function meanReduction(): Kernel {
  const { shape, lower } = reduction('ReduceMean', 'axis')
  return {
    shape: ({ x }, attrs) => {
      const made = shape({ x: x! }, attrs)
      if (x!.dtype === 'float32' || !('outputs' in made)) return made
      return { outputs: made.outputs.map((spec) => ({ ...spec, dtype: 'float32' as const })) }
    },
    lower: (onnx, c) => {
      if (c.value('x').dtype === 'float32') return lower(onnx, c)
      const x = onnx.op('Cast', [c.name('x')], { attrs: { to: ONNX_TYPE.float32 } })
      return lower(onnx, { ...c, name: () => x })
    },
  }
}

function reshape(input: string) {
  return (onnx: OnnxBuilder, c: LowerContext) => [
    onnx.op('Reshape', [c.name(input), onnx.ints(c.node.outputs[0]!.shape)]),
  ]
}

function operands(c: LowerContext): string[] {
  return Object.keys(c.node.inputs).map((key) => c.name(key))
}

const positive = (axis: number, rank: number) => (axis < 0 ? axis + rank : axis)

function sliceParams(x: Value, begin: unknown, size: unknown): [number[], number[]] {
  // tfjs accepts numbers for arrays, fewer axes than there are, and -1 or nothing for "to the end".
  const tensor = { shape: x.shape, rank: x.shape.length } as never
  const [at, extent] = slice_util.parseSliceParams(tensor, begin as number[], size as number[])
  slice_util.assertParamsValid(tensor, at!, extent!)
  return [at!, extent!]
}

function splitSizes(x: Value, numOrSizeSplits: unknown, axis: number): number[] {
  return backend_util.prepareSplitSize({ shape: x.shape } as never, numOrSizeSplits as number[], axis)
}

function filled(shape: readonly number[], value: number, dtype: DType) {
  const size = sizeOf(shape)
  const constant =
    dtype === 'float32'
      ? new Float32Array(size).fill(value)
      : dtype === 'int32'
        ? new Int32Array(size).fill(value)
        : new Uint8Array(size).fill(value)
  return { constant, shape, dtype }
}

export type { Inputs }
