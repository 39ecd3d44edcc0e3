"""Phi-3: gate and up are one fused matrix (``gate_up_proj``), queries, keys and values another.

Down-projection (no bias): input (rows, tokens, d_k) is act(gate) * up, output (rows, tokens, d_o). Block
output: bare tensor.
"""

from __future__ import annotations

from .base import Family

FAMILY = Family(
    name="phi3",
    model_types=("phi3",),
    blocks="model.layers",
    mlp="mlp",
    down_projection="mlp.down_proj",
    attention_output="self_attn.o_proj",
    up_projections=("mlp.gate_up_proj",),
)
