"""Llama 2 and 3, SmolLM2 and everything else with model type ``llama``: gated MLP, rotary positions.

Down-projection (no bias): input (rows, tokens, d_k) is act(gate) * up, output (rows, tokens, d_o). Block
output: bare tensor. ``mlp_bias`` in the config gives the projections biases.
"""

from __future__ import annotations

from .base import Family

FAMILY = Family(
    name="llama",
    model_types=("llama",),
    blocks="model.layers",
    mlp="mlp",
    down_projection="mlp.down_proj",
    attention_output="self_attn.o_proj",
    up_projections=("mlp.gate_proj", "mlp.up_proj"),
)
