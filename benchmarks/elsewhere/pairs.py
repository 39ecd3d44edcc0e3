"""Which editors of others are measured, with which hyper-parameters, and which of ours stands beside each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHECKOUTS = {"easyedit": "EasyEdit", "rome": "rome", "memit": "memit"}
"""Name of a collection -> what ``git clone`` calls its directory."""

TEMPLATES = (
    "{}",
    "The truth is that {}",
    "In the news today, {}",
    "As everyone in the village knew, {}",
    "According to the latest report, {}",
)
"""Context templates of both sides where an editor has some: sampled ones would be others on each side."""

STEPS = 5
"""Few, since both sides take the same: what is compared is the edit, not how well it holds."""


@dataclass(frozen=True)
class Pair:
    """An editor of others, and ours of the same method.

    Attributes:
        name: what the table calls it.
        theirs: as ``--editor`` takes it.
        ours: name of our editor.
        values: the one file of hyper-parameters that both get, but for the module names.
        own: what ours is given besides, by key: where it has another default than their code.
        moments: what of our second moments is handed over: "regular", the matrices with their ridge; "null space", the
            projections. None where there are none.
        templates: context templates of both.
        grouped: whether theirs are lists of lists, the bare prompt by itself.
        draws: what is drawn at random, so that equal answers cannot be expected; None where nothing is.
        differs: what else is done otherwise, in words; None where it is the same.
    """

    name: str
    theirs: str
    ours: str
    values: Mapping[str, Any]
    own: Mapping[str, Any] = field(default_factory=dict)
    moments: str | None = None
    templates: tuple[str, ...] = TEMPLATES
    grouped: bool = False
    draws: str | None = None
    differs: str | None = None

    @property
    def collection(self) -> str:
        return self.theirs.partition(":")[0]


MODULES = {
    "rewrite_module_tmp": "model.layers.{}.mlp.down_proj",
    "layer_module_tmp": "model.layers.{}",
    "mlp_module_tmp": "model.layers.{}.mlp",
    "attn_module_tmp": "model.layers.{}.self_attn",
    "ln_f_module": "model.norm",
    "lm_head_module": "model.embed_tokens",  # the output layer is tied to it, and has no parameter of its own
}
SEARCH = {
    "fact_token": "subject_last",
    "v_num_grad_steps": STEPS,
    "v_lr": 0.5,
    "v_loss_layer": 29,
    "v_weight_decay": 0.5,
    "clamp_norm_factor": 4.0,
    "kl_factor": 0.0625,
    "mom2_dataset": "wikipedia",
    "mom2_n_samples": 100000,
    "mom2_dtype": "float32",
}
RANK_ONE = {**SEARCH, **MODULES, "layers": [8], "mom2_adjustment": True, "context_template_length_params": [[5, 2]]}
SPREAD = {**SEARCH, **MODULES, "layers": [7, 8], "mom2_adjustment": True, "layer_selection": "all"}
SPREAD["mom2_update_weight"] = 2000
TUNED = {
    **MODULES,
    "rewrite_module_tmp": "model.layers.{}.mlp.down_proj.weight",
    "layers": [22],
    "num_steps": STEPS,
    "lr": 5e-4,
    "weight_decay": 0.0,
    "kl_factor": 0.0,
    "batch_size": 1,
}
GRACE = {
    "inner_params": ["model.layers[22].mlp.down_proj.weight"],
    "edit_lr": 1.0,
    "n_iter": STEPS,
    "eps": 1.0,
    "dist_fn": "euc",
    "val_init": "cold",
    "val_train": "sgd",
    "val_reg": "None",
    "reg": "early_stop",
    "replacement": "replace_last",
    "eps_expand": "coverage",
    "num_pert": 8,
    "dropout": 0.0,
}
WISE = {
    "inner_params": ["model.layers[25].mlp.down_proj.weight"],
    "mask_ratio": 0.2,
    "edit_lr": 1.0,
    "n_iter": STEPS,
    "norm_constraint": 1.0,
    "act_margin": [5.0, 20.0, 10.0],
    "act_ratio": 0.88,
    "save_freq": 500,
    "merge_freq": 1000,
    "merge_alg": "ties",
    "objective_optimization": "only_label",
    "densities": 0.53,
    "weights": 1.0,
    "retrieve": True,
    "replay": False,
}
LORA = {
    "lora_type": "lora",
    "layers": [20, 21, 22],
    "num_steps": STEPS,
    "batch_size": 1,
    "lr": 5e-3,
    "weight_decay": 0,
    "kl_factor": 0,
    "rank": 8,
    "lora_alpha": 32,
    "lora_dropout": 0.0,
    "norm_constraint": False,
    "target_modules": ["q_proj", "v_proj"],
}
ULTRAEDIT = {
    "model_class": "AutoModelForCausalLM",
    "tokenizer_class": "AutoTokenizer",
    "tokenizer_name": "",
    "inner_params": [f"model.layers.{layer}.mlp.down_proj" for layer in (20, 21)],
    "dropout": 0.0,
    "no_grad_layers": None,
    "lr": 3e-4,
    "token": "mask",
    "batch_size": 1,
    "batch_size_once": 1,
    "editor_batch_size": 1,
    "silent": False,
    "half": False,
    "results_dir": "results",
}


def _easyedit(algorithm: str, ours: str, values: Mapping[str, Any], name: str | None = None, **more: Any) -> Pair:
    own = {"alg_name": algorithm, "model_name": "llama", "device": 0, "model_parallel": False}
    if "mom2_dataset" in values:
        own["stats_dir"] = "data/stats"
    return Pair(f"EasyEdit {name or algorithm}", f"easyedit:{algorithm}", ours, {**own, **values}, **more)


PAIRS = (
    Pair("kmeng01 ROME", "rome:ROME", "rome", RANK_ONE, moments="regular"),
    Pair("kmeng01 MEMIT", "memit:MEMIT", "memit", SPREAD, moments="regular", grouped=True),
    _easyedit("ROME", "rome", RANK_ONE, moments="regular"),
    _easyedit("R-ROME", "r-rome", RANK_ONE, moments="regular"),
    _easyedit("MEMIT", "memit", SPREAD, moments="regular", grouped=True),
    _easyedit(
        "EMMET",
        "emmet",
        {**SPREAD, "layers": [8], "emmet_lambda": 0.1},
        moments="regular",
        grouped=True,
        differs="`emmet_lambda` is added for a single request too; in ours, as in the authors' code, for several only",
    ),
    _easyedit(
        "EMMET",
        "emmet",
        {**SPREAD, "layers": [8], "emmet_lambda": 0.0},
        "EMMET, emmet_lambda 0",
        moments="regular",
        grouped=True,
    ),
    _easyedit(
        "AlphaEdit",
        "alphaedit",
        {**SPREAD, "nullspace_threshold": 0.02, "L2": 1.0, "P_loc": "null_space_project.pt"},
        moments="null space",
        grouped=True,
    ),
    _easyedit("FT", "ft-l", {**TUNED, "objective_optimization": "prompt_last", "norm_constraint": 7e-3}, "FT-L"),
    _easyedit("FT", "ft-m", {**TUNED, "objective_optimization": "target_new", "norm_constraint": False}, "FT-M"),
    _easyedit("LoRA", "lora", LORA, draws="where the adapters start"),
    _easyedit("GRACE", "grace", GRACE, draws="where a value starts"),
    _easyedit("WISE", "wise", WISE, templates=TEMPLATES[:1], draws="the mask, an unrelated prompt"),
    _easyedit(
        "ULTRAEDIT",
        "ultraedit",
        ULTRAEDIT,
        own={"warm_up": 0, "loss": "mean"},
        differs="with `token: mask`, as in its files, all tokens of the text count, not those of the answer alone",
    ),
)
