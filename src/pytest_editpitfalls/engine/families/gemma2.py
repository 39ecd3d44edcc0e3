"""Gemma 2: norms before and after attention and MLP, soft caps, every other layer slides.

Down-projection (no bias): input (rows, tokens, d_k) is act(gate) * up, output (rows, tokens, d_o). Block
output: bare tensor. The down-projection's output passes ``post_feedforward_layernorm`` before it is added to
the residual stream.
"""

from __future__ import annotations

from .base import Family

FAMILY = Family(
    name="gemma2",
    model_types=("gemma2",),
    blocks="model.layers",
    mlp="mlp",
    down_projection="mlp.down_proj",
    attention_output="self_attn.o_proj",
    up_projections=("mlp.gate_proj", "mlp.up_proj"),
    norm_after_mlp=True,
)
