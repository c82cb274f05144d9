import { type AdamWOptions } from '../../ops/adamw.ts'
import { type AttentionShape, causalMaskValues } from '../../ops/attention.ts'
import { GELU_A, GELU_B } from '../../ops/gelu.ts'
import type { RotaryShape } from '../../ops/rotary.ts'
import type { TensorSpec } from '../graph.ts'
import { after, intsAfter } from './after.ts'
import { ONNX_TYPE, type OnnxBuilder } from './builder.ts'
import { type FrozenMatrix, frozenMatrix, frozenRows, product } from './frozen-matrix.ts'
import type { Kernel, LowerContext } from './kernel.ts'
import { logSoftmax, type MatMulOptions, matMul, rmsNorm, rotary, silu, split } from './spelled-out.ts'

/**
 * LoRA's rank. A product with so few columns is two to four times faster with its right operand upright, or, where the left
 * one is transposed, as the transpose of the flipped product. One that sums over so few, added to a whole matrix, is
 * faster in two operators: Gemm first copies that matrix, in one thread.
 */
const NARROW = 16

/** Added to what gelu reads, so that gelu(x) / x is 1/2 at zero, too. To whatever else a layer makes it adds nothing. */
const OFF_ZERO = 1e-20

/** Lowerings of our own operators (src/ops), fused by hand. Each has a tfjs composition that is its oracle. */
export const NAMED_KERNELS: Readonly<Record<string, Kernel>> = {
  'comigs.Gemm': {
    shape: ({ a, b }, { transposeA, transposeB }) => {
      const m = a!.shape[transposeA === true ? 1 : 0]!
      const n = b!.shape[transposeB === true ? 0 : 1]!
      return { outputs: [float([m, n])] }
    },
    stored: ['b'],
    lower: (onnx, c) => {
      const options = {
        alpha: c.attrs['alpha'] as number,
        transA: c.attrs['transposeA'] === true,
        transB: c.attrs['transposeB'] === true,
        c: 'c' in c.node.inputs ? c.name('c') : undefined,
      }
      const [m, n] = c.node.outputs[0]!.shape as [number, number]
      const b = frozenMatrix(onnx, c, 'b', c.name('a'))
      if (b.scales === undefined) {
        const inner = c.value('a').shape[options.transA ? 0 : 1]!
        if (options.c !== undefined && inner <= NARROW && c.value('c').shape.length === 2)
          return [onnx.op('Add', [product(onnx, c.name('a'), b, { ...options, c: undefined }), options.c])]
        if (options.c === undefined && n <= NARROW && n < m)
          return [narrowProduct(onnx, c.name('a'), b, options)]
      }
      return [product(onnx, c.name('a'), b, options)]
    },
  },

  'comigs.LayerNorm': {
    shape: ({ x }) => ({ outputs: [float(x!.shape), float([x!.shape[0]!, 1]), float([x!.shape[0]!, 1])] }),
    lower: (onnx, c) =>
      onnx.ops('LayerNormalization', [c.name('x'), c.name('gain'), c.name('bias')], {
        attrs: { axis: -1, epsilon: { float: c.attrs['epsilon'] as number } },
        outputs: 3,
      }),
  },

  'comigs.LayerNormGrad': {
    shape: ({ x }) => ({ outputs: [float(x!.shape)] }),
    lower: (onnx, c) => {
      const mean = (x: string) => onnx.op('ReduceMean', [x, onnx.ints([1])], { attrs: { keepdims: 1 } })
      const normal = onnx.op('Mul', [onnx.op('Sub', [c.name('x'), c.name('mean')]), c.name('rstd')])
      const g = onnx.op('Mul', [c.name('dy'), c.name('gain')])
      const along = onnx.op('Mul', [normal, mean(onnx.op('Mul', [g, normal]))])
      const centred = onnx.op('Sub', [onnx.op('Sub', [g, mean(g)]), along])
      return [onnx.op('Mul', [centred, c.name('rstd')])]
    },
  },

  'comigs.Gelu': {
    shape: ({ x }) => ({ outputs: [float(x!.shape)] }),
    lower: (onnx, c) => {
      const width = c.value('x').shape.at(-1) ?? 1
      const off = onnx.floats(`${width} of ${OFF_ZERO}`, [width], new Float32Array(width).fill(OFF_ZERO))
      return [onnx.op('FastGelu', [c.name('x'), off], { contrib: true })]
    },
  },

  'comigs.GeluGrad': {
    shape: ({ x }) => ({ outputs: [float(x!.shape)] }),
    lower: (onnx, c) => {
      const [x, y] = [c.name('x'), c.name('y')]
      // p + y (1 - p) t' with p = y / x is p (1 + (x - y) t'): fewer passes over memory, which is what it costs.
      const p = onnx.op('Div', [y, onnx.op('Add', [x, onnx.float(OFF_ZERO)])])
      const square = onnx.op('Mul', [x, x])
      const slope = onnx.op('Add', [onnx.op('Mul', [square, onnx.float(3 * GELU_B)]), onnx.float(GELU_A)])
      const bend = onnx.op('Mul', [onnx.op('Sub', [x, y]), slope])
      const gradient = onnx.op('Mul', [p, onnx.op('Add', [bend, onnx.float(1)])])
      return [onnx.op('Mul', [c.name('dy'), gradient])]
    },
  },

  'comigs.RmsNorm': {
    shape: ({ x }) => ({ outputs: [float(x!.shape), float([x!.shape[0]!, 1])] }),
    lower: (onnx, c) => rmsNorm(onnx, c.name('x'), c.name('gain'), c.attrs['epsilon'] as number),
  },

  'comigs.RmsNormGrad': {
    shape: ({ x }) => ({ outputs: [float(x!.shape)] }),
    lower: (onnx, c) => {
      const normal = onnx.op('Mul', [c.name('x'), c.name('rstd')])
      const g = onnx.op('Mul', [c.name('dy'), c.name('gain')])
      const mean = onnx.op('ReduceMean', [onnx.op('Mul', [g, normal]), onnx.ints([1])], {
        attrs: { keepdims: 1 },
      })
      return [onnx.op('Mul', [onnx.op('Sub', [g, onnx.op('Mul', [normal, mean])]), c.name('rstd')])]
    },
  },

  'comigs.Swiglu': {
    shape: ({ gate }) => ({ outputs: [float(gate!.shape)] }),
    lower: (onnx, c) => [onnx.op('Mul', [silu(onnx, c.name('gate')), c.name('up')])],
  },

  'comigs.SwigluGrad': {
    shape: ({ gate }) => ({ outputs: [float(gate!.shape), float(gate!.shape)] }),
    lower: (onnx, c) => {
      const [dy, gate, up] = [c.name('dy'), c.name('gate'), c.name('up')]
      const p = onnx.op('Sigmoid', [gate])
      const silu = onnx.op('Mul', [gate, p])
      const bend = onnx.op('Mul', [silu, onnx.op('Sub', [onnx.float(1), p])])
      const slope = onnx.op('Add', [p, bend])
      return [onnx.op('Mul', [onnx.op('Mul', [dy, up]), slope]), onnx.op('Mul', [dy, silu])]
    },
  },

  'comigs.Rotary': {
    shape: ({ x }) => ({ outputs: [float(x!.shape)] }),
    lower: (onnx, c) => {
      const { batch, heads } = c.attrs as unknown as RotaryShape
      const [N, width] = c.value('x').shape as [number, number]
      const shape = [batch, N / batch, heads, width / heads] as const
      return [
        onnx.op('Reshape', [
          rotary(onnx, c.name('x'), c.name('cos'), c.name('sin'), shape),
          onnx.ints([N, width]),
        ]),
      ]
    },
  },

  'comigs.Attention': {
    shape: ({ qkv }, attrs) => {
      const { B, T, H, D } = attentionDims(qkv!.shape, attrs as unknown as AttentionShape)
      return { outputs: [float([B * T, H * D]), float([H, B, T, T])] }
    },
    lower: (onnx, c) => {
      const dims = attentionDims(c.value('qkv').shape, c.attrs as unknown as AttentionShape)
      const [q, k, v] = splitHeads(onnx, c.name('qkv'), dims)
      const scores = byHeads(onnx, q!, k!, { transposeB: true, alpha: 1 / Math.sqrt(dims.D) })
      const mask = onnx.floats(`causal mask of ${dims.T}`, [dims.T, dims.T], causalMaskValues(dims.T))
      const probs = onnx.op('Softmax', [onnx.op('Add', [scores, mask])], { attrs: { axis: -1 } })
      return [mergeHeads(onnx, onnx.op('MatMul', [probs, v!]), dims, dims.H), probs]
    },
  },

  'comigs.AttentionGrad': {
    shape: ({ qkv }) => ({ outputs: [float(qkv!.shape)] }),
    lower: (onnx, c) => {
      const dims = attentionDims(c.value('qkv').shape, c.attrs as unknown as AttentionShape)
      const { B, T, H, K, D } = dims
      const [q, k, v] = splitHeads(onnx, c.name('qkv'), dims)
      const probs = c.name('probs')
      const byHead = onnx.op('Reshape', [c.name('dy'), onnx.ints([B, T, H, D])])
      const dOut = onnx.op('Transpose', [byHead], { attrs: { perm: [2, 0, 1, 3] } }) // [H, B, T, D]
      const dV = byHeads(onnx, probs, dOut, { transposeA: true })
      const dProbs = byHeads(onnx, dOut, v!, { transposeB: true })
      const product = onnx.op('Reshape', [
        onnx.op('Mul', [c.name('dy'), c.name('out')]),
        onnx.ints([B, T, H, D]),
      ])
      const sums = onnx.op('ReduceSum', [product, onnx.ints([3])], { attrs: { keepdims: 1 } })
      const rows = onnx.op('Transpose', [sums], { attrs: { perm: [2, 0, 1, 3] } }) // [H, B, T, 1]
      const dScores = onnx.op('Mul', [probs, onnx.op('Sub', [dProbs, rows])])
      const alpha = 1 / Math.sqrt(D)
      const dQ = byHeads(onnx, dScores, k!, { alpha })
      const dK = byHeads(onnx, dScores, q!, { transposeA: true, alpha })
      const grouped = (x: string) =>
        H === K
          ? x
          : onnx.op('ReduceSum', [onnx.op('Reshape', [x, onnx.ints([K, H / K, B, T, D])]), onnx.ints([1])], {
              attrs: { keepdims: 0 },
            })
      const all = onnx.op('Concat', [dQ, grouped(dK), grouped(dV)], { attrs: { axis: 0 } }) // [H + 2 K, B, T, D]
      return [mergeHeads(onnx, all, dims, H + 2 * K)]
    },
  },

  'comigs.HeadCrossEntropy': {
    stored: ['w'],
    shape: ({ x, w }, { gradX, gradW }) => ({
      outputs: [float([]), float(gradX === true ? x!.shape : []), float(gradW === true ? w!.shape : [])],
    }),
    lower: lowerHead,
  },

  'comigs.Embedding': {
    shape: ({ table, ids }) => ({ outputs: [float([ids!.shape[0]!, table!.shape[1]!])] }),
    stored: ['table'],
    lower: (onnx, c) => [frozenRows(onnx, c, 'table', c.name('ids'))],
  },

  'comigs.EmbeddingGrad': {
    shape: ({ dy }, { rows }) => ({ outputs: [float([rows as number, dy!.shape[1]!])] }),
    lower: (onnx, c) => {
      const [rows, width] = c.node.outputs[0]!.shape as [number, number]
      const zeros = onnx.op('Expand', [onnx.float(0), onnx.ints([rows, width])])
      return [addToRows(onnx, zeros, c.name('ids'), c.name('dy'))]
    },
  },

  'comigs.AdamW': {
    shape: ({ parameters }) => {
      const spec = float(parameters!.shape)
      return { outputs: [spec, spec, spec] }
    },
    lower: (onnx, c) => {
      const { beta1, beta2, epsilon } = c.attrs as unknown as AdamWOptions
      const mul = (a: string, b: string) => onnx.op('Mul', [a, b])
      const g = c.name('gradient')
      const [c1, c2] = [0, 1].map((i) => onnx.op('Gather', [c.name('correction'), onnx.ints([i])]))
      const m = onnx.op('Add', [mul(c.name('first'), onnx.float(beta1)), mul(g, onnx.float(1 - beta1))])
      const v = onnx.op('Add', [
        mul(c.name('second'), onnx.float(beta2)),
        mul(mul(g, g), onnx.float(1 - beta2)),
      ])
      const scale = onnx.op('Add', [onnx.op('Sqrt', [mul(v, c2!)]), onnx.float(epsilon)])
      const rate = mul(c.name('learningRate'), c1!)
      const update = mul(onnx.op('Div', [m, scale]), rate)
      const keep = onnx.op('Sub', [onnx.float(1), mul(c.name('learningRate'), c.name('decay'))])
      return [onnx.op('Sub', [mul(c.name('parameters'), keep), update]), m, v]
    },
  },
}

function narrowProduct(
  onnx: OnnxBuilder,
  a: string,
  { name: b }: FrozenMatrix,
  { alpha, transA, transB }: { alpha: number; transA: boolean; transB: boolean },
): string {
  const flip = (x: string) => onnx.op('Transpose', [x], { attrs: { perm: [1, 0] } })
  const gemm = (a: string, b: string, attrs: Readonly<Record<string, number>>) =>
    onnx.op('Gemm', [a, b], { attrs: { alpha: { float: alpha }, ...attrs } })
  if (transA) return flip(gemm(b, a, { transA: Number(!transB) }))
  return gemm(a, transB ? b : flip(b), { transB: 1 })
}

/**
 * The head is worked on in chunks of rows, so that logits never exist whole: as many as stay in the cache, but not so few
 * that the product slows down. Chosen by measurement (bench/engine).
 */
const HEAD_CHUNK_ELEMENTS = 1 << 20
const HEAD_CHUNK_ROWS = 256

/** Rows of a chunk, of N by a vocabulary of V. */
export const headChunk = (N: number, V: number): number =>
  Math.min(N, Math.max(HEAD_CHUNK_ROWS, Math.floor(HEAD_CHUNK_ELEMENTS / V)))

function lowerHead(onnx: OnnxBuilder, c: LowerContext): string[] {
  const [N] = c.value('x').shape as [number, number]
  const [V] = c.value('w').shape as [number, number]
  const gradX = c.used[1] === true
  const gradW = c.used[2] === true
  const rows = headChunk(N, V)
  const chunks = Math.ceil(N / rows)
  const column = (name: string) => onnx.op('Unsqueeze', [name, onnx.ints([1])])
  const weights = column(c.name('weights')) // [N, 1]
  const weightedX = gradW ? onnx.op('Mul', [c.name('x'), weights]) : ''
  const w = frozenMatrix(onnx, c, 'w', c.name('x'))
  let loss = ''
  let dW = ''
  const dX: string[] = []
  // One chunk after the other. Left to itself, ONNX Runtime makes all losses first and keeps all logits for the gradients.
  const rowsOf = (from: number, to: number) => {
    const done = [loss, ...dX.slice(-1), dW].filter((tensor) => tensor !== '')
    const start = intsAfter(onnx, [from], done)
    return (name: string, { shape: [, ...rest], dtype }: TensorSpec) =>
      onnx.shaped(onnx.op('Slice', [name, start, onnx.ints([to]), onnx.ints([0])]), {
        shape: [to - from, ...rest],
        dtype,
      })
  }
  for (let from = 0; from < N; from += rows) {
    const end = Math.min(N, from + rows)
    const cut = chunks === 1 ? (name: string) => name : rowsOf(from, end)
    const targets = cut(c.name('targets'), c.value('targets'))
    const weight = cut(weights, float([N, 1])) // [R, 1]
    const logits = product(onnx, cut(c.name('x'), c.value('x')), w, { transB: true }) // [R, V]
    const { logLikelihood, probs } =
      gradX || gradW
        ? likelihoodAndProbs(onnx, logits, column(targets), [end - from, V])
        : likelihood(onnx, logits, column(targets))
    const part = onnx.op('ReduceSum', [onnx.op('Mul', [logLikelihood, weight])], { attrs: { keepdims: 0 } })
    loss = loss === '' ? part : onnx.op('Add', [loss, part])
    // The gradient to the logits is probs - onehot(targets); the second part picks rows, without a second [R, V].
    if (gradX) {
      const picked = frozenRows(onnx, c, 'w', targets)
      const unweighted = product(onnx, probs, w, { c: picked, beta: -1 })
      dX.push(onnx.op('Mul', [unweighted, weight]))
    }
    if (gradW) {
      const operands = [probs, cut(weightedX, c.value('x')), ...(dW === '' ? [] : [dW])]
      dW = onnx.op('Gemm', operands, { attrs: { transA: 1 } })
    }
  }
  if (gradW) dW = addToRows(onnx, dW, c.name('targets'), onnx.op('Neg', [weightedX]))
  return [
    onnx.op('Neg', [loss]),
    dX.length > 1 ? onnx.op('Concat', dX, { attrs: { axis: 0 } }) : (dX[0] ?? ''),
    dW,
  ]
}

/** @returns log softmax(logits)[target], `[R, 1]` */
function likelihood(onnx: OnnxBuilder, logits: string, target: string) {
  const logProbs = logSoftmax(onnx, logits)
  return { logLikelihood: onnx.op('GatherElements', [logProbs, target], { attrs: { axis: 1 } }), probs: '' }
}

/**
 * The same, with the probabilities that the gradient needs: log p_t = l_t - l_max + log p_max is exact where log(p_t)
 * would underflow, and two row maxima are five times faster than a second exponential of [R, V]. They take the place of
 * the logits, of which by then nothing else is to be known.
 */
function likelihoodAndProbs(onnx: OnnxBuilder, logits: string, target: string, shape: readonly number[]) {
  const rowMax = (x: string) => onnx.op('ReduceMax', [x, onnx.ints([1])], { attrs: { keepdims: 1 } })
  const own = onnx.op('GatherElements', [logits, target], { attrs: { axis: 1 } })
  const belowMax = onnx.op('Sub', [own, rowMax(logits)])
  const known = after(onnx, logits, float(shape), [belowMax])
  const probs = onnx.op('Softmax', [known], { attrs: { axis: -1 } })
  const logLikelihood = onnx.op('Add', [belowMax, onnx.op('Log', [rowMax(probs)])])
  return { logLikelihood, probs }
}

/** table[ids_i] += rows_i */
function addToRows(onnx: OnnxBuilder, table: string, ids: string, rows: string): string {
  // In this order: WebGPU does not unsqueeze int64.
  const column = onnx.op('Unsqueeze', [ids, onnx.ints([1])])
  const index = onnx.op('Cast', [column], { attrs: { to: ONNX_TYPE.int64 } })
  return onnx.op('ScatterND', [table, index, rows], { attrs: { reduction: 'add' } })
}

const float = (shape: readonly number[]): TensorSpec => ({ shape, dtype: 'float32' })

// B batch, T tokens, H heads of queries, K of keys and values, D width of a head.
function attentionDims(qkv: readonly number[], { batch: B, heads: H, kvHeads: K }: AttentionShape) {
  return { B, T: qkv[0]! / B, H, K, D: qkv[1]! / (H + 2 * K) }
}
type AttentionDims = ReturnType<typeof attentionDims>

/** Queries, keys and values, `[H, B, T, D]` each. */
function splitHeads(onnx: OnnxBuilder, qkv: string, { B, T, H, K, D }: AttentionDims): string[] {
  const byHead = onnx.op('Reshape', [qkv, onnx.ints([B, T, H + 2 * K, D])])
  const headFirst = onnx.op('Transpose', [byHead], { attrs: { perm: [2, 0, 1, 3] } }) // [H + 2 K, B, T, D]
  const [q, k, v] = split(onnx, headFirst, [H, K, K], 0)
  if (H === K) return [q!, k!, v!]
  // Each head of keys once for every head of queries that it serves.
  const serving = onnx.ints(Array.from({ length: H }, (_, head) => Math.floor((head * K) / H)))
  const repeated = (x: string) => onnx.op('Gather', [x, serving], { attrs: { axis: 0 } })
  return [q!, repeated(k!), repeated(v!)]
}

function mergeHeads(onnx: OnnxBuilder, x: string, { B, T, D }: AttentionDims, heads: number): string {
  const tokenFirst = onnx.op('Transpose', [x], { attrs: { perm: [1, 2, 0, 3] } }) // [B, T, heads, D]
  return onnx.op('Reshape', [tokenFirst, onnx.ints([B * T, heads * D])])
}

/** Product of `[H, B, ., .]` arrays. */
function byHeads(onnx: OnnxBuilder, a: string, b: string, options: Omit<MatMulOptions, 'rank'>): string {
  return matMul(onnx, a, b, { rank: 4, ...options })
}
