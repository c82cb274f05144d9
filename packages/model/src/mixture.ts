import * as tf from '@tensorflow/tfjs-core'
import { loraScale, type MixtureConfig, TOP_K } from './config.ts'
import type { Weights } from './lora.ts'
import { gemm } from './ops/gemm.ts'
import { topSelection } from './ops/top-selection.ts'
import { expertPrefix, routerName } from './parameters.ts'

// N tokens, C width, F hidden width, n experts, r rank, k slots: experts that a token really goes to.

export interface Routed {
  /** `[N, n]`: softmax over all n logits. What plots of the router's share show. */
  readonly scores: tf.Tensor2D
  /** `[N, n]` per slot, one-hot: which expert the slot holds. Undefined where slot e simply is expert e. */
  readonly selection: readonly tf.Tensor2D[] | undefined
  /** `[N, 1]` per slot; they sum to 1 for each token. */
  readonly gates: readonly tf.Tensor2D[]
  /** Load-balancing loss of this layer, scalar. */
  readonly balance: tf.Scalar
}

/**
 * Token-level routing: softmax over the top-2 logits (paper, section 3.2; after top-k, so that gates sum to 1).
 * @param x - what the MLP sees, `[N, C]`
 * @param weight - router, `[C, n]`
 */
export function route(x: tf.Tensor2D, weight: tf.Tensor2D): Routed {
  const logits = gemm(x, weight) // [N, n]
  const n = logits.shape[1]
  const scores = tf.softmax(logits)
  const columns = (x: tf.Tensor) => tf.split<tf.Tensor2D>(x, x.shape[1]!, 1)
  if (n <= TOP_K) return { scores, selection: undefined, gates: columns(scores), balance: evenBalance(n) }
  const selection = topSelection(logits, TOP_K)
  const chosen = selection.map((one) => tf.sum(tf.mul(logits, one), 1, true)) // [N, 1] each
  const gates = columns(tf.softmax(tf.concat(chosen, 1)))
  return { scores, selection, gates, balance: loadBalance(logits, selection) }
}

/** Share of the slots that the load-balancing loss wants on the generalist (authors' scripts: expert0_importance). */
const GENERALIST_IMPORTANCE = 0.5

/**
 * Generalist-favoured load balancing (paper, equation 10): `n² · mean_j c_j f_j P_j`, f_j the share of slots that expert j
 * gets, P_j its mean gate. The logits that were not selected count as 0, as in the authors' code.
 */
export function loadBalance(logits: tf.Tensor2D, selection: readonly tf.Tensor2D[]): tf.Scalar {
  const [N, n] = logits.shape
  const kept = selection.reduce((sum, one) => tf.add(sum, one))
  const share = tf.div(tf.sum(kept, 0), N * selection.length) // f, [n]
  const gate = tf.mean(tf.softmax(tf.mul(logits, kept)), 0) // P, [n]
  const cost = tf.tensor1d(balanceCosts(n)) // c, [n]
  return tf.mul(tf.mean(tf.mul(cost, tf.mul(share, gate))), n * n)
}

function balanceCosts(n: number): number[] {
  const generalist = 1 / (GENERALIST_IMPORTANCE * n)
  const specialist = (n - 1) / (1 - GENERALIST_IMPORTANCE) / n
  return Array.from({ length: n }, (_, j) => (j === 0 ? generalist : specialist))
}

/** With n <= k every expert gets every token: the loss is a constant (1 for n = 2, 2 for n = 1) without a gradient. */
function evenBalance(n: number): tf.Scalar {
  const [generalist = 0, specialist = 0] = balanceCosts(n)
  return tf.scalar(n === 1 ? generalist : (generalist + specialist) / 2)
}

export interface Mlp {
  readonly layer: number
  readonly trained: Weights
  readonly mixture: MixtureConfig
  /** A frozen linear layer of this MLP, by its name. */
  linear(x: tf.Tensor2D, part: string): tf.Tensor2D
  /** Layers that read x. */
  readonly inner: readonly string[]
  /** What stands between inner and outer layers. `parts`: outputs of the inner ones, `[N, F]` each. */
  activate(parts: readonly tf.Tensor2D[]): tf.Tensor2D
  /** The layer that makes the output. */
  readonly outer: string
}

/**
 * The MLP as a mixture of whole-MLP experts `E_e(x) = f(x W1_e + b1, ...) W2_e + b2`, `W_e = W + s A_e B_e`, f the
 * non-linearity, of one inner layer (GPT-2) or of two (Llama), mixed at the output (paper, section 3). The frozen products
 * are shared, because the gates sum to 1:
 *
 *     sum_e p_e E_e(x) = (sum_e p_e u_e) W2 + b2 + s sum_e p_e (u_e A2_e) B2_e,   u_e = f(x W1 + b1 + s x A1_e B1_e, ...)
 *
 * so two (three) large products a layer do for any number of experts. An identity, not an approximation.
 * @param x - `[N, C]`
 * @returns `out` `[N, C]`; `routed` where there is a router
 */
export function mixtureMlp(x: tf.Tensor2D, mlp: Mlp): { out: tf.Tensor2D; routed: Routed | undefined } {
  const { layer, mixture, linear, inner, outer, activate } = mlp
  const n = mixture.experts
  const z = inner.map((part) => linear(x, part)) // [N, F] each
  if (n === 0) return { out: linear(activate(z), outer), routed: undefined }

  const routed =
    mixture.routing === 'router' && n > 1
      ? route(x, mlp.trained(routerName(layer)) as tf.Tensor2D)
      : undefined
  const slots = routed?.selection === undefined ? denseSlots(x, mlp) : sparseSlots(x, mlp, routed.selection)
  const gated = (part: tf.Tensor2D, slot: number): tf.Tensor2D =>
    routed === undefined ? (n === 1 ? part : tf.mul(part, 1 / n)) : tf.mul(part, routed.gates[slot]!)

  const scale = loraScale(mixture)
  const hidden: tf.Tensor2D[] = []
  const low: tf.Tensor2D[] = []
  slots.forEach((one, slot) => {
    const u = activate(one.inner.map(({ low, b }, i) => gemm(low, b, { c: z[i], alpha: scale }))) // [N, F]
    hidden.push(gated(u, slot))
    low.push(gated(one.mask(gemm(u, one.outer.a)), slot))
  })
  const mixed = hidden.reduce((sum, part) => tf.add(sum, part))
  const { rows, columns } = joinSlots(slots, low)
  return { out: gemm(rows, columns, { c: linear(mixed, outer), alpha: scale }), routed }
}

/** The two matrices of a LoRA. */
interface Lora {
  readonly a: tf.Tensor2D
  readonly b: tf.Tensor2D
}

/** One of the (at most two) experts that a token goes to. */
interface Slot {
  /** Per inner layer, x A of the slot's expert, `[N, r]` (or `[N, n r]` with the other experts' columns zero), and B. */
  readonly inner: readonly { readonly low: tf.Tensor2D; readonly b: tf.Tensor2D }[]
  readonly outer: Lora
  /** Zeroes the columns of experts that the slot does not hold. */
  mask(low: tf.Tensor2D): tf.Tensor2D
  /** Whether all slots have the same outer B. */
  readonly shared: boolean
}

/** Every expert has a slot of its own. */
function denseSlots(x: tf.Tensor2D, mlp: Mlp): Slot[] {
  return Array.from({ length: mlp.mixture.experts }, (_, e) => ({
    inner: mlp.inner.map((part) => {
      const { a, b } = expertLora(mlp, e, part)
      return { low: gemm(x, a), b }
    }),
    outer: expertLora(mlp, e, mlp.outer),
    mask: (low: tf.Tensor2D) => low,
    shared: false,
  }))
}

/**
 * With more experts than slots, the LoRA of all experts stand side by side and each token's row is masked to the expert
 * of the slot, so that cost hardly grows with n.
 */
function sparseSlots(x: tf.Tensor2D, mlp: Mlp, selection: readonly tf.Tensor2D[]): Slot[] {
  const { experts: n, rank: r } = mlp.mixture
  const sideBySide = (part: string): Lora => {
    const all = Array.from({ length: n }, (_, e) => expertLora(mlp, e, part))
    return {
      a: tf.concat(
        all.map(({ a }) => a),
        1,
      ), // [in, n r]
      b: tf.concat(
        all.map(({ b }) => b),
        0,
      ), // [n r, out]
    }
  }
  const outer = sideBySide(mlp.outer)
  const inner = mlp.inner.map((part) => {
    const { a, b } = sideBySide(part)
    return { all: gemm(x, a), b }
  })
  const spread = tf.tensor2d(
    Array.from({ length: n * n * r }, (_, i) =>
      Number(Math.floor((i % (n * r)) / r) === Math.floor(i / (n * r))),
    ),
    [n, n * r],
  )
  return selection.map((one) => {
    const columns = gemm(one, spread) // [N, n r], 1 on the columns of the slot's expert
    const mask = (low: tf.Tensor2D): tf.Tensor2D => tf.mul(low, columns)
    return { inner: inner.map(({ all, b }) => ({ low: mask(all), b })), outer, mask, shared: true }
  })
}

/** Turns `sum_slot low_slot B2_slot` into one product. */
function joinSlots(
  slots: readonly Slot[],
  low: readonly tf.Tensor2D[],
): { rows: tf.Tensor2D; columns: tf.Tensor2D } {
  const first = slots[0]!
  if (first.shared) return { rows: low.reduce((sum, part) => tf.add(sum, part)), columns: first.outer.b }
  if (slots.length === 1) return { rows: low[0]!, columns: first.outer.b }
  return {
    rows: tf.concat([...low], 1),
    columns: tf.concat(
      slots.map((slot) => slot.outer.b),
      0,
    ),
  }
}

function expertLora({ layer, trained }: Mlp, expert: number, part: string): Lora {
  const name = `${expertPrefix(layer, expert)}.${part}`
  return { a: trained(`${name}.lora_A`) as tf.Tensor2D, b: trained(`${name}.lora_B`) as tf.Tensor2D }
}
