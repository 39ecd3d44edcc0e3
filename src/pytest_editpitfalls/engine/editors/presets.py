"""Hyper-parameters to start from: the published preset of a known model, else our choice. Torch-free."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from pytest_editpitfalls.engine.models.known import short_name_of

DEPTH_FRACTION = 0.3
"""Where ROME edits a model without a preset, as a share of its depth. The published presets lie between 0.16
and 0.36: Llama-2-7B layer 5 of 32, GPT-J 5 of 28, NeoX-20B 15 of 44, GPT2-XL 17 of 48."""

_UNKNOWN_ROME: dict[str, Any] = {
    "fact_token": "subject_last",
    "v_num_grad_steps": 20,
    "v_lr": 0.5,
    "v_weight_decay": 0.5,
    "clamp_norm_factor": 4.0,
    "kl_factor": 0.0625,
    "mom2_adjustment": True,
    "context_template_length_params": [[5, 10], [10, 10]],
}


@cache
def _presets() -> dict[str, dict[str, dict[str, Any]]]:
    text = files(__package__).joinpath("presets.json").read_text(encoding="utf-8")
    return {editor: rows for editor, rows in json.loads(text).items() if not editor.startswith("_")}


def preset_for(editor: str, model_name: str, n_layers: int) -> dict[str, Any] | None:
    """Return the published values for this model (key ``source`` names their file), or None.

    Args:
        editor: name of the editor ("rome").
        model_name: short name, Hugging Face id, directory or GGUF file name of the model.
        n_layers: number of the model's blocks; a preset for another depth is for another model.
    """
    last = model_name.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
    rows = _presets().get(editor, {})
    row = rows.get(short_name_of(model_name) or last)
    if row is None or row["v_loss_layer"] != n_layers - 1:
        return None
    return dict(row)


def choice_for(editor: str, n_layers: int) -> dict[str, Any]:
    """Return our values for a model without a preset: ROME as for GPT2-XL, at three tenths of the depth.

    Raises:
        KeyError: the editor has no such choice.
    """
    if editor != "rome":
        raise KeyError(editor)
    layer = min(round(DEPTH_FRACTION * n_layers), n_layers - 1)
    return {
        "layers": [layer],
        "v_loss_layer": n_layers - 1,
        **_UNKNOWN_ROME,
        "source": f"no preset for this model: GPT2-XL's values at {DEPTH_FRACTION} of the depth",
    }
