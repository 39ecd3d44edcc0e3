"""GPT-NeoX and Pythia. Attention and MLP run in parallel (``use_parallel_residual``), each with its own norm.

Down-projection (bias): input (rows, tokens, d_k), output (rows, tokens, d_o). Block output: bare tensor.
"""

from __future__ import annotations

from .base import Family

FAMILY = Family(
    name="gpt_neox",
    model_types=("gpt_neox",),
    blocks="gpt_neox.layers",
    mlp="mlp",
    down_projection="mlp.dense_4h_to_h",
    attention_output="attention.dense",
    up_projections=("mlp.dense_h_to_4h",),
)
