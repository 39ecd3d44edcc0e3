"""What a loaded model is, in one short string: changes when one weight, token or setting changes."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cache import remember, state_key
from .loading import prepare
from .source import ModelSource, hub_directory

if TYPE_CHECKING:
    import torch

_VOLATILE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "_attn_implementation")
_CHECKPOINT_SUFFIXES = (".json", ".safetensors", ".bin", ".model", ".txt")


def fingerprint(model: Any, tokenizer: Any, source: ModelSource | None = None) -> str:
    """SHA-256 over config, tokenizer and all weights (names, shapes, dtypes, bytes), as 64 hex digits.

    Args:
        model: the model as it was loaded.
        source: where both were loaded from, unchanged since; the result is then remembered in its cache under
            the files' paths, sizes and times, and the weights' dtype. Without it, every call reads all weights.
    """
    memo = _memo(model, source) if source is not None else None
    if memo is not None and memo.is_file():
        return memo.read_text(encoding="utf-8").strip()
    digest = hashlib.sha256()
    config = {key: value for key, value in model.config.to_dict().items() if key not in _VOLATILE}
    for text in (json.dumps(config, sort_keys=True, default=str), _tokenizer_text(tokenizer)):
        digest.update(hashlib.sha256(text.encode()).digest())
    # Tensor by tensor, so that two threads can share the work (hashlib lets go of the interpreter's lock).
    tensors = sorted(model.state_dict().items())
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for part in pool.map(_tensor_digest, *zip(*tensors, strict=True)):
            digest.update(part)
    if memo is not None:
        remember(memo, digest.hexdigest())
    return digest.hexdigest()


def _memo(model: Any, source: ModelSource) -> Path | None:
    directory = prepare(source) or hub_directory(source)
    if directory is None:
        return None
    files = [path for path in directory.iterdir() if path.suffix in _CHECKPOINT_SUFFIXES and path.is_file()]
    return source.cache / "fingerprints" / f"{state_key(files, str(model.dtype))}.txt"


def _tokenizer_text(tokenizer: Any) -> str:
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for setting in ("padding", "truncation"):  # set by each call, not part of the tokenizer
        backend.pop(setting, None)
    return json.dumps([backend, tokenizer.special_tokens_map], sort_keys=True, default=str)


def _tensor_digest(name: str, tensor: torch.Tensor) -> bytes:
    import torch

    digest = hashlib.sha256(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
    data: Any = tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy()
    digest.update(data)
    return digest.digest()
