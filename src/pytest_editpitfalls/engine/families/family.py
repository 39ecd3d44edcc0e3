"""What the engine has to know about an architecture: where it keeps its layers. Nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Family:
    """Module paths of one architecture, as names inside the Hugging Face model.

    Attributes:
        name: the family's name in lists and messages ("llama").
        model_types: values of ``config.model_type`` that it serves.
        blocks: path of the list of transformer blocks, from the model ("model.layers").
        mlp: path of the MLP inside a block; empty where the block holds the projections itself (OPT).
        down_projection: path of the MLP's down-projection inside a block ("mlp.down_proj"). Its input is the
            *key* and its output (bias included) the *value* (Meng et al. 2022, arXiv 2202.05262).
        attention_output: path of the attention's output projection inside a block.
        up_projections: paths of the MLP's input-side matrices inside a block: one, or gate and up. MEND edits them
            with the down-projection; an editor that needs them refuses a family without.
        norm_after_mlp: whether a norm stands between the down-projection and the next block (Gemma 2,
            Gemma 3, post-norm OPT). ROME's target vector then sits before that norm.
    """

    name: str
    model_types: tuple[str, ...]
    blocks: str
    mlp: str
    down_projection: str
    attention_output: str
    up_projections: tuple[str, ...] = ()
    norm_after_mlp: bool = False


FamilyDeclaration = Family | Callable[[Any], Family]
"""A family, or a function that makes it from the model's config where the config decides (OPT)."""
