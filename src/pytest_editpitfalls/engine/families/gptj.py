"""GPT-J. Attention and MLP run in parallel on one norm's output; the head has a bias of its own.

Down-projection (bias): input (rows, tokens, d_k), output (rows, tokens, d_o). Block output: a tuple (hidden
states, attention weights), also when no attention weights are asked for.
"""

from __future__ import annotations

from .base import Family

FAMILY = Family(
    name="gptj",
    model_types=("gptj",),
    blocks="transformer.h",
    mlp="mlp",
    down_projection="mlp.fc_out",
    attention_output="attn.out_proj",
    up_projections=("mlp.fc_in",),
)
