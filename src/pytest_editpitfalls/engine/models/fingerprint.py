"""What a loaded model is, in one short string: changes when one weight, token or setting changes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pytest_editpitfalls.engine.settings import BF16_WEIGHTS

from .cache import remember
from .file_state import state_key
from .source import ModelSource

if TYPE_CHECKING:
    import torch

_FORMAT = "2"
"""Raised when the fingerprint is made of more, or in another way."""

_VOLATILE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "_attn_implementation")

_READ_FROM: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""For each model that `load` returned: the state of the files that it was read from."""


def checkpoint_state(directories: Iterable[Path]) -> str | None:
    """A key that changes when a file of a checkpoint does: weights, config, tokenizer, generation config, adapter.

    None where there are no files, or one of them cannot be read.
    """
    try:
        files = [path for directory in directories for path in directory.iterdir() if path.is_file()]
        return state_key(path for path in files if not path.name.startswith(".")) if files else None
    except OSError:
        return None


def note_origin(model: Any, before: str | None, after: str | None) -> None:
    """Note that ``model`` was read from files of that state; nothing is noted where they were written meanwhile."""
    if before is not None and before == after:
        _READ_FROM[model] = before


def fingerprint(model: Any, tokenizer: Any, source: ModelSource | None = None) -> str:
    """SHA-256 over config, generation settings, tokenizer and weights (names, shapes, dtypes, bytes): 64 hex digits.

    Args:
        model: the model as it was loaded.
        source: what both were loaded from, and not changed since; the result is then remembered in its cache for as
            long as the files are the same (`file_state`). Without it, every call reads all weights.
    """
    state = _READ_FROM.get(model)
    memo: Path | None = None
    if source is not None and state is not None:
        parts = (_FORMAT, state, _numbers(model), version("transformers"), version("tokenizers"))
        memo = source.cache / "fingerprints" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:40]}.txt"
        if memo.is_file():
            return memo.read_text(encoding="utf-8").strip()
    digest = hashlib.sha256()
    config = {key: value for key, value in model.config.to_dict().items() if key not in _VOLATILE}
    texts = [json.dumps(config, sort_keys=True, default=str), _tokenizer_text(tokenizer)]
    if generation := _generation_settings(model):
        texts.append(json.dumps(generation, sort_keys=True, default=str))
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    # Tensor by tensor, so that two threads can share the work (hashlib lets go of the interpreter's lock).
    tensors = sorted(model.state_dict().items())
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for part in pool.map(tensor_digest, *zip(*tensors, strict=True)):
            digest.update(part)
    if memo is not None:
        remember(memo, digest.hexdigest())
    return digest.hexdigest()


def _numbers(model: Any) -> str:
    """Dtype and, where there is one, quantisation: the same files may be loaded in several."""
    from pytest_editpitfalls.engine.bf16_weights import has_bf16_weights

    kept = BF16_WEIGHTS if has_bf16_weights(model) else str(model.dtype)
    found = getattr(model.config, "quantization_config", None)
    return kept if found is None else f"{kept} {found}"


def _generation_settings(model: Any) -> dict[str, Any]:
    """What ``generate`` is set to besides what the config says: an editor may let the model write text."""
    from transformers import GenerationConfig

    found = getattr(model, "generation_config", None)
    if found is None:
        return {}
    implied = GenerationConfig.from_model_config(model.config).to_dict()
    settings = {key: value for key, value in found.to_dict().items() if implied.get(key) != value}
    return {key: value for key, value in settings.items() if key not in _VOLATILE and not key.startswith("_")}


def _tokenizer_text(tokenizer: Any) -> str:
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for setting in ("padding", "truncation"):  # set by each call, not part of the tokenizer
        backend.pop(setting, None)
    parts = [backend, tokenizer.special_tokens_map]
    if getattr(tokenizer, "split_special_tokens", False):  # reads "</s>" in a prompt as text
        parts.append("split_special_tokens")
    return json.dumps(parts, sort_keys=True, default=str)


def tensor_digest(name: str, tensor: torch.Tensor) -> bytes:
    """SHA-256 over name, shape, dtype and bytes of a tensor."""
    import torch

    digest = hashlib.sha256(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
    from pytest_editpitfalls.engine.quantised import plain

    data: Any = plain(tensor).detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy()
    digest.update(data)
    return digest.digest()
