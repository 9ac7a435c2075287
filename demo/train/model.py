"""A Llama, with places to stand: every residual vector can be read, and any one of them replaced.

Weights have the names of Hugging Face's `LlamaForCausalLM`, so the saved file opens there as well.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


@dataclass
class Config:
    vocab_size: int
    hidden_size: int = 256
    intermediate_size: int = 416
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


@dataclass
class Patch:
    """Replaces resid_post of `layer[b]` at `position[b]` of row b by `vector[b]`."""

    layer: Tensor
    position: Tensor
    vector: Tensor

    def apply(self, x: Tensor, layer: int) -> Tensor:
        here = torch.arange(x.shape[1], device=x.device) == self.position[:, None]
        return torch.where((here & (self.layer == layer)[:, None])[..., None], self.vector[:, None].to(x.dtype), x)


def rope(x: Tensor, theta: float) -> Tensor:
    """[batch, head, position, d_head]; halves rotate against each other, as in Hugging Face's layout."""
    half = x.shape[-1] // 2
    frequency = theta ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = torch.arange(x.shape[-2], device=x.device, dtype=torch.float32)[:, None] * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Attention(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        width = c.num_key_value_heads * c.head_dim
        self.q_proj = nn.Linear(c.hidden_size, c.hidden_size, bias=False)
        self.k_proj = nn.Linear(c.hidden_size, width, bias=False)
        self.v_proj = nn.Linear(c.hidden_size, width, bias=False)
        self.o_proj = nn.Linear(c.hidden_size, c.hidden_size, bias=False)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries, rotated keys, and values: [batch, head, position, d_head]."""
        q, k, v = (p(x).unflatten(-1, (-1, self.c.head_dim)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        return rope(q, self.c.rope_theta), rope(k, self.c.rope_theta), v

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self.heads(x)
        z = F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, enable_gqa=True)
        return self.o_proj(z.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.self_attn, self.mlp = Attention(c), Mlp(c)
        self.input_layernorm = nn.RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = nn.RMSNorm(c.hidden_size, c.rms_norm_eps)


class Llama(nn.Module):
    """The embedding is also the unembedding."""

    def __init__(self, c: Config):
        super().__init__()
        self.config, self.model = c, Body(c)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                # GPT-2's initialisation: what writes into the residual stream starts smaller.
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / (2 * c.num_hidden_layers) ** 0.5 if deep else 0.02)

    def residuals(self, ids: Tensor, mask: Tensor | None = None, patch: Patch | None = None) -> list[Tensor]:
        """resid_post of every layer, each [batch, position, d_model]. `mask`: who sees whom; causal if none."""
        x, out = self.model.embed_tokens(ids), []
        for i, layer in enumerate(self.model.layers):
            x = layer(x, mask)
            if patch is not None:
                x = patch.apply(x, i)
            out.append(x)
        return out

    def unembed(self, x: Tensor) -> Tensor:
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)

    def forward(self, ids: Tensor, mask: Tensor | None = None, patch: Patch | None = None) -> Tensor:
        return self.unembed(self.residuals(ids, mask, patch)[-1])

    def save(self, folder: Path, special: dict[str, int], ends: list[int]) -> None:
        """`special`: bos, eos and pad; `ends`: ids that end a generation."""
        save_file({name: p.detach().half().contiguous() for name, p in self.named_parameters()}, folder / "model.safetensors", {"format": "pt"})
        tokens = {f"{role}_token_id": id for role, id in special.items()}
        config = {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", **asdict(self.config), "head_dim": self.config.head_dim,
            "hidden_act": "silu", "max_position_embeddings": 1024, "tie_word_embeddings": True, "attention_bias": False,
            "mlp_bias": False, "torch_dtype": "float16", **tokens,
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (folder / "generation_config.json").write_text(json.dumps({**tokens, "eos_token_id": ends}, indent=2) + "\n")

    @staticmethod
    def load(folder: Path, device: str) -> "Llama":
        config = json.loads((folder / "config.json").read_text())
        model = Llama(Config(**{name: config[name] for name in Config.__dataclass_fields__}))
        model.load_state_dict({name: t.float() for name, t in load_file(folder / "model.safetensors").items()})
        return model.to(device).eval()
