"""GPT-2. The down-projection is a ``Conv1D``: it stores W transposed, as (d_k, d_o), and has a bias.

Down-projection: input (rows, tokens, d_k), output (rows, tokens, d_o). Block output: bare tensor. The head is
tied to the token embedding; positions are learned, so a row cannot be longer than ``n_positions`` tokens.
"""

from __future__ import annotations

from .base import Family

FAMILY = Family(
    name="gpt2",
    model_types=("gpt2",),
    blocks="transformer.h",
    mlp="mlp",
    down_projection="mlp.c_proj",
    attention_output="attn.c_proj",
    up_projections=("mlp.c_fc",),
)
