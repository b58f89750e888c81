"""Masks of other libraries by their own parameters: `attncc.like.flash_attn(causal=True, window_size=(256, 0))`.

"A window of 256" is 256 keys to some libraries and 257, 511 or 513 to others (docs/conventions.md).
"""

from attncc.like import deepspeed
from attncc.like.attn_gym import attn_gym
from attncc.like.families import bigbird, longformer, natten
from attncc.like.kernels import flash_attn, flashinfer, jax, torch_sdpa, xformers
from attncc.like.modules import local_attention, transformers, x_transformers

__all__ = [
    "attn_gym",
    "bigbird",
    "deepspeed",
    "flash_attn",
    "flashinfer",
    "jax",
    "local_attention",
    "longformer",
    "natten",
    "torch_sdpa",
    "transformers",
    "x_transformers",
    "xformers",
]
