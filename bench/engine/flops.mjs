/**
 * Floating-point operations (a multiplication and an addition count two) of the matrix products that a training step needs:
 * forward, backward to the activations, backward to what is trained. Frozen weights get no gradient; nothing goes back below
 * the lowest parameter that is trained. Attention counts as whole T x T squares, as every dense kernel computes it; the
 * causal half of it would do. Everything that is not a matrix product (norms, softmax, gelu, optimiser) counts nothing.
 *
 * @param work - see workload.mjs
 * @param step - `expert` or `router`
 * @returns operations by kind of product, and their sum `total`
 */
export function usefulFlops({ model, mixture, batch, context }, step) {
  const { width: C, hidden: F, layers: L, vocabSize: V } = model
  const { experts: n, rank: r } = mixture
  const N = batch * context
  const slots = Math.min(n, 2)
  const product = (inputs, outputs) => 2 * N * inputs * outputs
  const pair = (inputs, outputs) => product(inputs, r) + product(r, outputs)
  const expert = step === 'expert'
  const routed = n > 1

  // Layers whose input needs a gradient. The lowest trained parameter sits in layer 0: attention's LoRA or its router.
  const above = L - 1

  const qkv = product(C, 3 * C)
  const out = product(C, C)
  const mlp = product(C, F) + product(F, C)
  const frozen = {
    forward: L * (qkv + out + mlp),
    // An expert step goes back to layer 0's attention, a router step only to its router, in the middle of its MLP.
    backward: expert ? above * qkv + L * (out + mlp) : above * (qkv + out + mlp) + product(F, C),
  }

  const expertPairs = slots * (pair(C, F) + pair(F, C))
  const attentionPairs = pair(C, 3 * C) + pair(C, C)
  const lora = {
    forward: L * (attentionPairs + expertPairs),
    backward: expert
      ? // To the inputs (not of layer 0's first A) and to A and B.
        L * 2 * (attentionPairs + expertPairs) - product(C, r)
      : // To the inputs only; in layer 0 no further than to what the gates weigh.
        above * (attentionPairs + expertPairs) + slots * product(r, C),
  }

  const squares = 2 * N * context * C // one of q kᵀ, p v
  const attention = { forward: L * 2 * squares, backward: (expert ? L : above) * 4 * squares }

  const head = { forward: product(C, V), backward: product(C, V) }

  const gate = routed ? product(C, n) : 0
  const router = {
    forward: L * gate,
    backward: expert ? L * gate : (above + L) * gate, // to x; and to the routers themselves
  }

  const parts = { frozen, lora, attention, head, router }
  const sums = Object.fromEntries(
    Object.entries(parts).map(([name, { forward, backward }]) => [name, forward + backward]),
  )
  return { ...sums, total: Object.values(sums).reduce((sum, part) => sum + part, 0) }
}
