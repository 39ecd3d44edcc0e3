"""OPT. The block itself holds the MLP's two projections; there is no MLP module.

Down-projection ``fc2`` (bias): the block flattens its hidden states first, so the input is (rows * tokens,
d_k) and the output (rows * tokens, d_o): row i, token t is at i * tokens + t. Block output: bare tensor
(rows, tokens, d_o). With ``do_layer_norm_before=False`` (OPT-350M) ``final_layer_norm`` is applied to the
residual stream after the down-projection's output was added to it. Where ``word_embed_proj_dim`` differs from
the hidden size, the decoder projects the last block's output before the head.
"""

from __future__ import annotations

from typing import Any

from .base import Family


def family(config: Any) -> Family:
    """OPT's declaration; the config says on which side of the MLP the norm stands."""
    return Family(
        name="opt",
        model_types=("opt",),
        blocks="model.decoder.layers",
        mlp="",
        down_projection="fc2",
        attention_output="self_attn.out_proj",
        up_projections=("fc1",),
        norm_after_mlp=not config.do_layer_norm_before,
    )
