"""Falcon: 7B (parallel attention), 40B (new decoder architecture, two norms), RW (serial, ALiBi).

Down-projection: input (rows, tokens, d_k), output (rows, tokens, d_o). The block then adds the attention's
output to the down-projection's output *in place*: a hook that keeps the output must copy it. Block output: a
tuple (hidden states, attention weights). With ``alibi`` the positions are read off the attention mask and
position ids are ignored.
"""

from __future__ import annotations

from .base import Family

FAMILY = Family(
    name="falcon",
    model_types=("falcon",),
    blocks="transformer.h",
    mlp="mlp",
    down_projection="mlp.dense_4h_to_h",
    attention_output="self_attention.dense",
    up_projections=("mlp.dense_h_to_4h",),
)
