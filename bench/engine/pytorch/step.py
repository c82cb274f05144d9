"""The CoMiGS training step in PyTorch, as a competitor of bench/engine/bench.mjs and as its oracle.

Three variants compute the same losses:
  authors    as the paper's code is built: nanoGPT, every expert a whole MLP with its own copy of the frozen weights, a loop
             over experts, eager, float32; both groups get gradients, one optimiser steps.
  best       as well as we can: frozen products shared between experts, LoRA of both experts side by side, head and loss in
             chunks whose gradient is made with the loss, fused AdamW, torch.compile; only what a step trains gets gradients.
  best-bf16  the same under bfloat16 autocast, the frozen matrices kept in bfloat16.

Lines on stdin, answers as JSON on stdout: `describe`; `run expert 3` makes three steps:
{"ms": [of each], "cpuMs": processor time of one}.
With --check FILE (pytorch/check.mjs makes it) it trains on that file's weights and batches and prints the losses.
"""

import argparse
import json
import math
import os
import sys
import time

# One process: inductor's pool of compilers would count as our memory.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import torch
import torch.nn as nn
import torch.nn.functional as F

BETAS = (0.9, 0.95)
RATE = 2e-3
DECAY = 0.01
# The frozen matrices of a layer: rows and columns.
MATRICES = {"attn.c_attn": ("C", "3C"), "attn.c_proj": ("C", "C"), "mlp.c_fc": ("C", "F"), "mlp.c_proj": ("F", "C")}


# ---------------------------------------------------------------------------------------------------------------- weights


class Weights:
    """Base, LoRA and router arrays by our names, random or from a safetensors file."""

    def __init__(self, shape, file):
        self.shape = shape
        self.arrays = {}
        if file is not None:
            from safetensors.torch import load_file

            self.arrays = load_file(file, device=DEVICE)

    def take(self, name, *dims, ones=False):
        if self.arrays:
            return self.arrays[name].reshape(dims).clone()
        values = torch.empty(dims).normal_(0, 0.02)
        return values + 1 if ones else values


# ------------------------------------------------------------------------------------------------------- the authors' way


class LoraLinear(nn.Module):
    """A frozen linear layer and its LoRA; weights in PyTorch's own [out, in] order."""

    def __init__(self, weights, base, lora, fan_in, fan_out, rank, scale):
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(weights.take(f"{base}.weight", fan_in, fan_out).T.contiguous(), False)
        self.bias = nn.Parameter(weights.take(f"{base}.bias", fan_out), False)
        self.lora_A = nn.Parameter(weights.take(f"{lora}.lora_A", fan_in, rank).T.contiguous())
        self.lora_B = nn.Parameter(weights.take(f"{lora}.lora_B", rank, fan_out).T.contiguous())

    def forward(self, x):
        return F.linear(x, self.weight, self.bias) + (x @ self.lora_A.T @ self.lora_B.T) * self.scale


class Attention(nn.Module):
    def __init__(self, weights, s, layer):
        super().__init__()
        self.heads = s["heads"]
        C, r, scale = s["width"], s["rank"], s["scale"]
        names = [(f"h.{layer}.attn.{part}", f"{s['attentionPrefix'][layer]}.{part}") for part in ("c_attn", "c_proj")]
        self.c_attn = LoraLinear(weights, *names[0], C, 3 * C, r, scale)
        self.c_proj = LoraLinear(weights, *names[1], C, C, r, scale)

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = (
            part.view(B, T, self.heads, C // self.heads).transpose(1, 2) for part in self.c_attn(x).split(C, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class Expert(nn.Module):
    """A whole MLP, frozen weights included."""

    def __init__(self, weights, s, layer, expert):
        super().__init__()
        C, hidden, r, scale = s["width"], s["hidden"], s["rank"], s["scale"]
        names = [
            (f"h.{layer}.mlp.{part}", f"{s['expertPrefix'][layer][expert]}.{part}") for part in ("c_fc", "c_proj")
        ]
        self.c_fc = LoraLinear(weights, *names[0], C, hidden, r, scale)
        self.c_proj = LoraLinear(weights, *names[1], hidden, C, r, scale)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Mixture(nn.Module):
    def __init__(self, weights, s, layer):
        super().__init__()
        self.experts = nn.ModuleList(Expert(weights, s, layer, e) for e in range(s["experts"]))
        self.router = nn.Parameter(weights.take(s["router"][layer], s["width"], s["experts"]).T.contiguous())
        self.top = min(2, s["experts"])

    def forward(self, x):
        logits = F.linear(x, self.router)
        chosen, selected = torch.topk(logits, self.top)
        gates = torch.zeros_like(logits).scatter(-1, selected, F.softmax(chosen, dim=-1))
        out = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            out = out + gates[..., e : e + 1] * expert(x)
        return out


class Norm(nn.Module):
    def __init__(self, weights, s, name):
        super().__init__()
        self.epsilon = s["epsilon"]
        self.weight = nn.Parameter(weights.take(f"{name}.weight", s["width"], ones=True), False)
        self.bias = nn.Parameter(weights.take(f"{name}.bias", s["width"]), False)

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


class Block(nn.Module):
    def __init__(self, weights, s, layer):
        super().__init__()
        self.ln_1 = Norm(weights, s, f"h.{layer}.ln_1")
        self.attn = Attention(weights, s, layer)
        self.ln_2 = Norm(weights, s, f"h.{layer}.ln_2")
        self.mlp = Mixture(weights, s, layer)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class AuthorsModel(nn.Module):
    def __init__(self, weights, s):
        super().__init__()
        self.wte = nn.Parameter(weights.take("wte.weight", s["vocabSize"], s["width"]), False)
        self.wpe = nn.Parameter(weights.take("wpe.weight", s["positions"], s["width"]), False)
        self.blocks = nn.ModuleList(Block(weights, s, layer) for layer in range(s["layers"]))
        self.ln_f = Norm(weights, s, "ln_f")

    def forward(self, tokens, targets):
        x = F.embedding(tokens, self.wte) + self.wpe[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


class Authors:
    device = "eager, float32, an MLP per expert"

    def __init__(self, weights, s):
        self.model = AuthorsModel(weights, s)
        groups = {"expert": [], "router": []}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                groups["router" if "router" in name else "expert"].append(parameter)
        self.optimisers = {
            kind: torch.optim.AdamW(group, RATE, BETAS, weight_decay=DECAY) for kind, group in groups.items()
        }

    def step(self, kind, tokens, targets):
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        loss = self.model(tokens, targets)
        loss.backward()
        self.optimisers[kind].step()
        return loss.item()


# ----------------------------------------------------------------------------------------------------- as well as we can


def loss_and_probs(logits, target):
    """Summed cross entropy of rows of logits, and their softmax. Compiled, a few passes over a chunk that sits in the cache."""
    top = logits.amax(1, keepdim=True)
    powers = (logits - top).exp()
    total = powers.sum(1, keepdim=True)
    return (total.log() + top - logits.gather(1, target)).sum(), powers / total


class HeadCrossEntropy(torch.autograd.Function):
    """Mean cross entropy of x @ w.T, in chunks of rows; the gradient to x is made with the loss, logits never exist whole."""

    @staticmethod
    def forward(x, w, targets, rows, loss_and_probs):
        N = x.shape[0]
        loss = x.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(x)
        for start in range(0, N, rows):
            part = slice(start, min(N, start + rows))
            chunk, probs = loss_and_probs(F.linear(x[part], w).float(), targets[part].unsqueeze(1))
            loss += chunk
            torch.mm(probs.to(w.dtype), w, out=gradient[part])
        gradient -= w[targets]
        return loss / N, gradient.div_(N)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx, grad, _):
        (gradient,) = ctx.saved_tensors
        return gradient * grad.to(gradient.dtype), None, None, None, None


class Best:
    def __init__(self, weights, s, precision=torch.float32):
        self.s = s
        self.precision = precision
        # As much as sits in a cache; a GPU has room for all of it.
        self.rows = max(64, min(1024, (1 << 23) // s["vocabSize"])) if DEVICE == "cpu" else s["batch"] * s["context"]
        C, hidden, r, n = s["width"], s["hidden"], s["rank"], s["experts"]

        def base_layer(layer):
            h, arrays = f"h.{layer}", {}
            for part, (fan_in, fan_out) in MATRICES.items():
                sizes = {"C": C, "3C": 3 * C, "F": hidden}
                weight = weights.take(f"{h}.{part}.weight", sizes[fan_in], sizes[fan_out])
                arrays[f"{part}.w"] = weight.to(precision)
                arrays[f"{part}.b"] = weights.take(f"{h}.{part}.bias", sizes[fan_out]).to(precision)
            for name in ("ln_1", "ln_2"):
                arrays[f"{name}.w"] = weights.take(f"{h}.{name}.weight", C, ones=True)
                arrays[f"{name}.b"] = weights.take(f"{h}.{name}.bias", C)
            return arrays

        def trained_layer(layer):
            arrays = {}
            for part, (fan_in, fan_out) in (("c_attn", (C, 3 * C)), ("c_proj", (C, C))):
                lora = f"{s['attentionPrefix'][layer]}.{part}"
                arrays[f"attn.{part}.A"] = weights.take(f"{lora}.lora_A", fan_in, r)
                arrays[f"attn.{part}.B"] = weights.take(f"{lora}.lora_B", r, fan_out)
            # Side by side where all experts read the same input (A of c_fc) or add to the same output (B of c_proj).
            for part, (fan_in, fan_out), join_A, join_B in (
                ("c_fc", (C, hidden), lambda A: torch.cat(A, 1), torch.stack),
                ("c_proj", (hidden, C), torch.stack, lambda B: torch.cat(B, 0)),
            ):
                names = [f"{s['expertPrefix'][layer][e]}.{part}" for e in range(n)]
                arrays[f"mlp.{part}.A"] = join_A([weights.take(f"{name}.lora_A", fan_in, r) for name in names])
                arrays[f"mlp.{part}.B"] = join_B([weights.take(f"{name}.lora_B", r, fan_out) for name in names])
            return arrays

        layers = range(s["layers"])
        table = weights.take("wte.weight", s["vocabSize"], C).to(precision)
        self.base = {
            "wte": table,
            "wpe": weights.take("wpe.weight", s["positions"], C),
            "layers": [base_layer(layer) for layer in layers],
            "ln_f.w": weights.take("ln_f.weight", C, ones=True),
            "ln_f.b": weights.take("ln_f.bias", C),
        }
        self.groups = {
            "expert": [trained_layer(layer) for layer in layers],
            "router": [{"w": weights.take(s["router"][layer], C, n)} for layer in layers],
        }
        self.optimisers = {
            kind: torch.optim.AdamW(self.parameters(kind), RATE, BETAS, weight_decay=DECAY, fused=True)
            for kind in self.groups
        }
        compiled = (lambda f: torch.compile(f, dynamic=False)) if COMPILE else (lambda f: f)
        self.block = compiled(self.layer)
        self.loss_and_probs = compiled(loss_and_probs)
        how = "torch.compile" if COMPILE else "eager"
        self.device = f"{how}, {str(precision).removeprefix('torch.')}, frozen products shared"

    def parameters(self, kind):
        return [array for layer in self.groups[kind] for array in layer.values()]

    def hidden(self, tokens):
        """Everything up to the last layer norm."""
        base = self.base
        B, T = tokens.shape
        x = (F.embedding(tokens, base["wte"]) + base["wpe"][:T]).view(B * T, -1)
        for layer in range(self.s["layers"]):
            x = self.block(x, *(group[layer] for group in (base["layers"], *self.groups.values())), B)
        return F.layer_norm(x, (x.shape[1],), base["ln_f.w"], base["ln_f.b"], self.s["epsilon"])

    def layer(self, x, base, trained, router, B):
        """One block. Compiled by itself, once for all layers: compiling the whole model takes minutes and runs no faster.
        Products and additions stand apart, for the compiler to fuse the additions with what follows."""
        s = self.s
        N, C = x.shape
        H, n, scale, r = s["heads"], s["experts"], s["scale"], s["rank"]

        def norm(value, name):
            return F.layer_norm(value, (C,), base[f"{name}.w"], base[f"{name}.b"], s["epsilon"])

        def linear(value, key):
            return value @ base[f"{key}.w"] + base[f"{key}.b"] + (value @ trained[f"{key}.A"] * scale) @ trained[f"{key}.B"]

        qkv = linear(norm(x, "ln_1"), "attn.c_attn")
        q, k, v = (part.view(B, N // B, H, C // H).transpose(1, 2) for part in qkv.split(C, dim=1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + linear(y.transpose(1, 2).reshape(N, C), "attn.c_proj")

        value = norm(x, "ln_2")
        fc, proj = "mlp.c_fc", "mlp.c_proj"
        # With two experts top-2 is everyone, and a softmax over the chosen logits is the softmax.
        gates = F.softmax(value @ router["w"], dim=1, dtype=torch.float32)
        z = value @ base[f"{fc}.w"] + base[f"{fc}.b"]
        low = value @ trained[f"{fc}.A"] * scale
        mixed, parts = 0, []
        for e in range(n):
            gate = gates[:, e : e + 1]
            u = F.gelu(z + low[:, e * r : (e + 1) * r] @ trained[f"{fc}.B"][e], approximate="tanh")
            mixed = mixed + gate * u
            parts.append(gate * (u @ trained[f"{proj}.A"][e]))
        frozen = mixed.to(z.dtype) @ base[f"{proj}.w"] + base[f"{proj}.b"]
        return x + frozen + (torch.cat(parts, 1).to(z.dtype) * scale) @ trained[f"{proj}.B"]

    def step(self, kind, tokens, targets):
        for group in self.groups:
            for parameter in self.parameters(group):
                parameter.requires_grad_(group == kind)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self.precision != torch.float32):
            hidden = self.hidden(tokens)
        head = self.base["wte"]
        loss, _ = HeadCrossEntropy.apply(
            hidden.to(head.dtype), head, targets.view(-1), self.rows, self.loss_and_probs
        )
        loss.backward()
        optimiser = self.optimisers[kind]
        optimiser.step()
        optimiser.zero_grad()
        return loss.item()


# ---------------------------------------------------------------------------------------------------------------- process


def variant(name, weights, shape):
    if name == "authors":
        return Authors(weights, shape)
    return Best(weights, shape, torch.bfloat16 if name == "best-bf16" else torch.float32)


def random_batches(s):
    generator = torch.Generator(DEVICE).manual_seed(2)
    draw = lambda: torch.randint(0, s["vocabSize"], (s["batch"], s["context"]), generator=generator)
    return [(draw(), draw()) for _ in range(8)]


def check(step, weights, s, steps):
    losses = {}
    for kind in ("expert", "router"):
        losses[kind] = []
        for k in range(steps):
            tokens, targets = (
                weights.arrays[f"{name}.{k}"].view(s["batch"], s["context"]).long() for name in ("tokens", "targets")
            )
            losses[kind].append(step(kind, tokens, targets))
    return losses


def serve(competitor, s):
    batches = random_batches(s)
    done = 0
    for line in sys.stdin:
        verb, *rest = line.split()
        if verb == "describe":
            answer = {"device": f"PyTorch {torch.__version__}, {competitor.device}, on {DEVICE}"}
        else:
            kind, count = rest
            answer = {"ms": []}
            cpu_before = time.process_time()
            for _ in range(int(count)):
                tokens, targets = batches[done % len(batches)]
                done += 1
                before = time.perf_counter()
                competitor.step(kind, tokens, targets)
                answer["ms"].append(1000 * (time.perf_counter() - before))
            answer["cpuMs"] = 1000 * (time.process_time() - cpu_before) / int(count)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--variant", choices=("authors", "best", "best-bf16"), required=True)
    parser.add_argument("--shape", type=json.loads, required=True, help="JSON: model, mixture, batch, context, names")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--check", metavar="FILE")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    flags = parser.parse_args()
    COMPILE = not flags.eager
    DEVICE = flags.device
    torch.set_default_device(DEVICE)
    torch.set_num_threads(flags.threads)
    torch.manual_seed(1)
    shape = {**flags.shape, "scale": flags.shape["alpha"] / math.sqrt(flags.shape["rank"])}
    source = Weights(shape, flags.check)
    competitor = variant(flags.variant, source, shape)
    if flags.check:
        print(json.dumps(check(competitor.step, source, shape, shape["steps"])))
    else:
        source.arrays = {}
        serve(competitor, shape)
