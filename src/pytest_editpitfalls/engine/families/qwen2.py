"""Qwen2 and Qwen2.5: like Llama, with biases on queries, keys and values; layers may slide.

Down-projection (no bias): input (rows, tokens, d_k) is act(gate) * up, output (rows, tokens, d_o). Block
output: bare tensor.
"""

from __future__ import annotations

from .base import Family

FAMILY = Family(
    name="qwen2",
    model_types=("qwen2",),
    blocks="model.layers",
    mlp="mlp",
    down_projection="mlp.down_proj",
    attention_output="self_attn.o_proj",
    up_projections=("mlp.gate_proj", "mlp.up_proj"),
)
