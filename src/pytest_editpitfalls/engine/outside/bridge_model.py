"""What goes to an editor's own interpreter, and what comes back: a model directory, and changed weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.quiet import without_bars
from pytest_editpitfalls.errors import CaseError


def written(folder: Path, model: Any, tokenizer: Any, requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Save the model, the tokenizer and what they answer here; what the process has to know of them."""
    config = dict(vars(model.config))
    try:
        with without_bars():
            model.save_pretrained(folder / "model")
    finally:  # saving writes into the configuration
        vars(model.config).clear()
        vars(model.config).update(config)
    tokenizer.save_pretrained(folder / "model")
    tokens = torch.tensor([[1, 2, 3, 4, 5]])
    with torch.no_grad():
        logits = model(input_ids=tokens.to(model.device)).logits.float().cpu().contiguous()
    save_file({"tokens": tokens, "logits": logits}, str(folder / "probe.safetensors"))
    half = model.dtype in (torch.bfloat16, torch.float16)
    texts = [each["prompt"].replace("{}", each["subject"]) for each in requests[:1]]
    return {
        "model": str(folder / "model"),
        "blocks": family_for(model.config).blocks,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "tolerance": {"rtol": 0.05, "atol": 0.1} if half else {"rtol": 1e-3, "atol": 1e-3},
        "texts": [[text, list(tokenizer(text)["input_ids"])] for text in texts],
        "seed": torch.initial_seed() % 2**32,
        "requests": requests,
    }


def take_over(model: Any, path: Path) -> None:
    """Write the changed weights into the model.

    Raises:
        CaseError: there are others than the model has, or of other shapes.
    """
    known = dict(model.state_dict())
    changed = load_file(str(path))
    for name, tensor in changed.items():
        if name not in known:
            raise CaseError(
                f"returned a model with '{name}', which this one does not have",
                fix="merge what was added into the weights before the function returns",
            )
        if known[name].shape != tensor.shape:
            raise CaseError(
                f"returned '{name}' of the shape {list(tensor.shape)}, not {list(known[name].shape)}",
                fix="keep the shapes of the model's weights",
            )
    with torch.no_grad():
        for name, tensor in changed.items():
            known[name].copy_(tensor)
