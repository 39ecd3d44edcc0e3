"""Mistral: like Llama, with a sliding attention window in every layer where ``sliding_window`` is set.

Down-projection (no bias): input (rows, tokens, d_k) is act(gate) * up, output (rows, tokens, d_o). Block
output: bare tensor.
"""

from __future__ import annotations

from .base import Family

FAMILY = Family(
    name="mistral",
    model_types=("mistral",),
    blocks="model.layers",
    mlp="mlp",
    down_projection="mlp.down_proj",
    attention_output="self_attn.o_proj",
    up_projections=("mlp.gate_proj", "mlp.up_proj"),
)
