"""A comigs mixture in PyTorch: the reference of what `comigs-peer export --as mixture` wrote (docs/EXPORT.md).

    pip install torch transformers safetensors
    python comigs_mixture.py <base folder> <mixture.safetensors> "Once upon a time"

    import comigs_mixture
    model = comigs_mixture.load("base", "mine.safetensors")  # a model of transformers, with the mixture in its place
    logits = model(tokens).logits

Written to be read, not to be fast: every expert runs on every token.
"""

import json
import sys

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

TOP_K = 2  # a token goes to at most so many experts

# By family: blocks, attention and its linear layers, those of the MLP that read x, the one that makes its output, and what
# stands between.
FAMILIES = {
    "gpt2": dict(
        blocks=lambda model: model.transformer.h, attention="attn", projections=["c_attn", "c_proj"],
        inner=["c_fc"], outer="c_proj", activate=lambda z: F.gelu(z, approximate="tanh"),
    ),
    "llama": dict(
        blocks=lambda model: model.model.layers, attention="self_attn",
        projections=["q_proj", "k_proj", "v_proj", "o_proj"],
        inner=["gate_proj", "up_proj"], outer="down_proj", activate=lambda gate, up: F.silu(gate) * up,
    ),
}


class Lora(nn.Module):
    """frozen(x) + s x A B, A [in, r], B [r, out]."""

    def __init__(self, frozen, name, arrays, scale):
        super().__init__()
        self.frozen, self.scale = frozen, scale
        self.a, self.b = (nn.Parameter(arrays[f"{name}.{part}"]) for part in ("lora_A", "lora_B"))

    def forward(self, x):
        return self.frozen(x) + self.scale * (x @ self.a @ self.b)


class Expert(nn.Module):
    """A whole MLP: the frozen one with LoRA on every linear layer."""

    def __init__(self, family, mlp, name, arrays, scale):
        super().__init__()
        lora = lambda part: Lora(getattr(mlp, part), f"{name}.{part}", arrays, scale)
        self.inner, self.outer = nn.ModuleList(map(lora, family["inner"])), lora(family["outer"])
        self.activate = family["activate"]

    def forward(self, x):
        return self.outer(self.activate(*(layer(x) for layer in self.inner)))


class Mixture(nn.Module):
    """Expert 0 is the generalist. Softmax over each token's two largest router logits; or the mean of all experts."""

    def __init__(self, experts, router):
        super().__init__()
        self.experts, self.router = nn.ModuleList(experts), None if router is None else nn.Parameter(router)

    def forward(self, x):
        outputs = torch.stack([expert(x) for expert in self.experts], -1)  # [..., C, n]
        if self.router is None:
            return outputs.mean(-1)
        logits = x @ self.router  # [..., n]
        top, index = logits.topk(min(TOP_K, logits.shape[-1]), -1)
        gates = torch.zeros_like(logits).scatter(-1, index, top.softmax(-1))
        return (outputs * gates.unsqueeze(-2)).sum(-1)


def load(base, path, **options):
    """The base (a folder or a name on the hub) as transformers loads it, with the mixture of a file put on it."""
    model = AutoModelForCausalLM.from_pretrained(base, **{"dtype": torch.float32, **options}).eval()
    family = FAMILIES[model.config.model_type]
    with safe_open(path, "pt") as file:
        metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    if metadata.get("format") != "comigs-mixture-1":
        raise ValueError(f"{path}: its format is {metadata.get('format')}, expected comigs-mixture-1")
    mixture = json.loads(metadata["mixture"])
    scale = mixture["alpha"] / mixture["rank"] ** 0.5
    for layer, block in enumerate(family["blocks"](model)):
        attention = getattr(block, family["attention"])
        for part in family["projections"]:
            setattr(attention, part, Lora(getattr(attention, part), f"h.{layer}.attn.{part}", arrays, scale))
        names = [f"h.{layer}.mlp.experts.{e}" for e in range(mixture["experts"])]
        experts = [Expert(family, block.mlp, name, arrays, scale) for name in names]
        block.mlp = Mixture(experts, arrays.get(f"h.{layer}.mlp.router.weight"))
    return model


if __name__ == "__main__":
    base, path, prompt = sys.argv[1:4]
    tokens = AutoTokenizer.from_pretrained(base)(prompt, return_tensors="pt").input_ids
    model = load(base, path)
    with torch.no_grad():
        for _ in range(40):
            best = model(tokens, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)
            tokens = torch.cat([tokens, best], -1)
    print(AutoTokenizer.from_pretrained(base).decode(tokens[0]))
