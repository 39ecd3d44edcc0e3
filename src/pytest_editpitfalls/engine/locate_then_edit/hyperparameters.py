"""Hyper-parameters of the locate-then-edit family: ROME, MEMIT, AlphaEdit and their kin. Torch-free.

Named as in the released files (kmeng01/rome, kmeng01/memit, and the editors' own repositories, hparams/). What a model
without a preset gets stands in one place, the class's ``scaled``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from pytest_editpitfalls.engine.hyperparameters.fields import (
    Count,
    NotNegative,
    NotPositive,
    OneLayer,
    Positive,
    at_depth,
)
from pytest_editpitfalls.engine.hyperparameters.module_names import ReleasedModuleNames

DEPTH_FRACTION = 0.3
"""Where ROME, r-ROME and EMMET edit a model without a preset, as a share of its depth. The published presets lie
between 0.16 and 0.36: Llama-2-7B layer 5 of 32, GPT-J 5 of 28, NeoX-20B 15 of 44, GPT2-XL 17 of 48."""

LAST_LAYER_FRACTION = 0.28
"""Where the last edited layer of MEMIT, PMET and AlphaEdit lies in a model without a preset. Published: Llama-2-7B
8 of 32 (0.25), GPT-J and Qwen2-7B 8 of 28 (0.29), NeoX-20B 10 of 44 (0.23), GPT2-XL 17 of 48 (0.35)."""

N_LAYERS_EDITED = 5
"""How many layers they edit; as published, but for GPT-J's six."""

SMALL_MODEL_UPDATE_WEIGHT = 2000
"""mom2_update_weight of MEMIT and PMET without a preset. With the published 15000 MEMIT hardly edits a model of 135M
parameters, with 2000 it does. The mean of k^T C^-1 k over keys is d_k, so an edit keeps a share of about
d_k / (d_k + weight) of its residual: GPT-J has d_k = 16384, that model 1536."""

SMALL_MODEL_CLAMP = 4.0
"""clamp_norm_factor of MEMIT and its kin without a preset, as in the published Llama-2, Mistral and Qwen files; 0.75
(GPT-2, GPT-J) holds the target vector of a small model too short to change its answer."""


MOM2_IS_OURS = "where second moments come from is our own default: docs/second-moments.md"
"""Every published file names Wikipedia: reading one shall not start a download of 18 GB."""


class LocateThenEditHyperparameters(ReleasedModuleNames):
    """What the whole family has: target vector, second moment, context templates, module names ."""

    path_fields: ClassVar[tuple[str, ...]] = ("mom2_corpus", "mom2_npz", "nas_facts")
    at_most_one: ClassVar[tuple[str, ...]] = ("mom2_dataset", "mom2_corpus", "mom2_npz")
    released_unused: ClassVar[Mapping[str, str]] = dict.fromkeys(("mom2_dataset", "mom2_n_samples"), MOM2_IS_OURS)

    layers: tuple[int, ...] = Field(min_length=1)
    """the blocks whose down-projections are edited"""
    fact_token: Literal["subject_last"] = "subject_last"
    """where key and target vector are read; only the subject's last token"""
    v_num_grad_steps: Count
    """steps of the target-vector optimisation; the last one only looks"""
    v_lr: Positive
    """Adam's learning rate there"""
    v_loss_layer: int
    """block whose output gives the loss; only the last one"""
    v_weight_decay: NotNegative
    """weight of norm(delta) / norm(v_0)^2"""
    clamp_norm_factor: Positive
    """norm(delta) is at most this many times norm(v_0)"""
    kl_factor: NotNegative
    """weight of the KL term"""
    mom2_adjustment: bool = True
    """whether the key is multiplied by the inverse second moment"""
    mom2_dataset: str | None = Field(default=None, min_length=1)
    """a data set id for the second moment (needs the `datasets` extra); without any source the model samples text"""
    mom2_n_samples: Count = 100_000
    """documents of the data set used at most; a corpus file is used whole"""
    mom2_dtype: Literal["float32", "float64"] = "float32"
    """accepted, not used: the second moment is summed and solved in float64"""
    context_template_length_params: tuple[tuple[int, int], ...] = ()
    """pairs (length in tokens, number) of sampled templates; the bare prompt is always added"""
    context_templates: tuple[str, ...] | None = Field(default=None, min_length=1)
    """templates to use instead, each with one `{}`; the bare `{}` is one of them"""
    mom2_corpus: Path | None = None
    """text file for the second moment, one document per line"""
    mom2_npz: Path | None = None
    """a published file of second moments"""
    mom2_ridge: NotNegative | None = None
    """multiple of the mean eigenvalue added to the diagonal; automatic for sampled text, otherwise none"""
    mom2_tokens: Count | None = None
    """tokens to sample where the model's own text is used; automatic without"""
    prob_cutoff: NotPositive = 0
    """ENCORE's early stop: -2 ends the search at the second step in which the target is the likeliest; 0: none"""
    nas: bool = False
    """NAS: whether value vectors get the norm that they usually have in the unedited model"""
    nas_limit: Positive = 2.0
    """NAS writes nothing where the value vector is more than this many times as long as usual"""
    nas_norm: Positive | None = None
    """NAS: the usual norm; without it, it is measured on facts"""
    nas_facts: Path | None = None
    """NAS: a file of CounterFact's form with the facts to measure on; without it, facts that ship"""

    @field_validator("v_loss_layer")
    @classmethod
    def _last_layer(cls, value: int, info: ValidationInfo) -> int:
        n_layers = (info.context or {}).get("n_layers")
        if n_layers is not None and value != n_layers - 1:
            raise ValueError(f"only the last block is supported, which is {n_layers - 1} in this model")
        return value

    @field_validator("context_template_length_params")
    @classmethod
    def _positive(cls, value: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if any(length < 1 or number < 1 for length, number in value):
            raise ValueError("each pair is (length in tokens, number of templates), both at least 1")
        return value

    @field_validator("context_templates")
    @classmethod
    def _one_slot(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for template in value or ():
            if template.count("{}") != 1:
                raise ValueError(f"the template {template!r} needs exactly one {{}}, where the prompt goes")
        if value is not None and "{}" not in value:
            raise ValueError('the bare prompt "{}" has to be one of them: v_0 and the bare key are read there')
        return value


class RankOneHyperparameters(LocateThenEditHyperparameters):
    """ROME and r-ROME: one layer; without a preset 20 sampled templates and the bare prompt."""

    layers: OneLayer
    """the one block whose down-projection is edited"""
    nas_limit: Positive = 5.0
    """as above; in ROME five times is too long, as released"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """GPT2-XL's values (kmeng01/memit, hparams/ROME/gpt2-xl.json) at `DEPTH_FRACTION` of the depth."""
        return {
            **one_layer(n_layers),
            "v_num_grad_steps": 20,
            "v_lr": 0.5,
            "v_loss_layer": n_layers - 1,
            "v_weight_decay": 0.5,
            "clamp_norm_factor": 4.0,
            "kl_factor": 0.0625,
            "mom2_adjustment": True,
            "context_template_length_params": [[5, 10], [10, 10]],
        }


def one_layer(n_layers: int) -> dict[str, Any]:
    """``layers`` at `DEPTH_FRACTION` of the depth, and ``source``, of a model without a preset."""
    return {
        "layers": [at_depth(DEPTH_FRACTION, n_layers)],
        "source": f"no preset for this model: GPT2-XL's values at {DEPTH_FRACTION} of the depth",
    }


class LayerByLayerHyperparameters(LocateThenEditHyperparameters):
    """MEMIT and its kin: the residual of one target vector spread over the layers.

    Context templates make two groups, the bare prompt and the others: a key is half the bare prompt's and half the
    mean of the others'. The published files sample five of ten tokens.
    """

    mom2_adjustment: Literal[True] = True
    """only true: the closed form needs the second moment"""
    context_template_length_params: tuple[tuple[int, int], ...] = ((10, 5),)
    """as above; the default is five templates of ten tokens, as published"""
    layer_selection: Literal["all"] = "all"
    """only all: the same layers for every request"""
    mom2_update_weight: Positive
    """lambda: how much the second moment weighs against the new keys"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """GPT2-XL's optimisation, on up to `N_LAYERS_EDITED` layers that end at `LAST_LAYER_FRACTION` of the depth.

        Layers, `SMALL_MODEL_UPDATE_WEIGHT` and `SMALL_MODEL_CLAMP` give on 30 blocks (SmolLM2-135M) the
        values with which MEMIT was seen to edit: layers 4 to 8, 2000, 4.
        """
        last = at_depth(LAST_LAYER_FRACTION, n_layers)
        return {
            "layers": list(range(max(last - N_LAYERS_EDITED + 1, 0), last + 1)),
            "v_num_grad_steps": 20,
            "v_lr": 0.5,
            "v_loss_layer": n_layers - 1,
            "v_weight_decay": 0.5,
            "clamp_norm_factor": SMALL_MODEL_CLAMP,
            "kl_factor": 0.0625,
            "mom2_update_weight": SMALL_MODEL_UPDATE_WEIGHT,
            "source": (
                f"no preset for this model: layers up to {LAST_LAYER_FRACTION} of the depth, GPT2-XL's optimisation, "
                f"clamp {SMALL_MODEL_CLAMP:g} and update weight {SMALL_MODEL_UPDATE_WEIGHT} "
                "(the published 15000 hardly edits a small model)"
            ),
        }


class PreservingHyperparameters(LayerByLayerHyperparameters):
    """MEMIT, EMMET, PMET and ENCORE: what A = lambda C may have besides (Gupta et al. 2025, arXiv 2502.01636)."""

    update_norm_lambda: NotNegative = 0.0
    """lambda_n: weight of the update's own norm, which ENCORE adds to the system; 0: none"""
    add_prev_edits: bool = False
    """whether the keys of the case's earlier edits are preserved as well, as in ENCORE"""


class NullSpaceHyperparameters(LayerByLayerHyperparameters):
    """AlphaEdit and its kin: MEMIT in the null space of the second moment."""

    nullspace_threshold: Positive = 0.02
    """directions of the second moment with an eigenvalue below this may be changed"""
    L2: Positive = 10.0
    """weight of the update's own norm"""
    mom2_update_weight: Positive = 15000.0
    """accepted, not used: the null space takes the place of lambda times the second moment"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """As for MEMIT, with the published threshold and EasyEdit's L2 for Llama-3 and Qwen2.5, which damps less."""
        values = super().scaled(n_layers)
        del values["mom2_update_weight"]
        return values | {
            "nullspace_threshold": 0.02,
            "L2": 1.0,
            "source": (
                f"no preset for this model: layers up to {LAST_LAYER_FRACTION} of the depth, GPT2-XL's optimisation, "
                f"clamp {SMALL_MODEL_CLAMP:g} as for MEMIT, L2 as in EasyEdit's Llama-3 and Qwen2.5 files"
            ),
        }
