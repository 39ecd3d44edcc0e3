"""Where models come from: the embedded one, Hugging Face ids, directories, GGUF files. See docs/models.md.

`resolve` a name, look at `memory_estimate`, `load`, and name what was loaded by its `fingerprint`. Importing
this package does not import torch.
"""

from __future__ import annotations

from pytest_editpitfalls.engine.settings import BF16_WEIGHTS

from .ahead import fetched_meanwhile
from .cache import CACHE_VARIABLE, cache_directory
from .fingerprint import fingerprint
from .known import EMBEDDED, KNOWN_MODELS, known_names
from .loading import check_available, check_finite, load, memory_estimate, prepare
from .placement import (
    DTYPES,
    HALVES,
    QUANTISED,
    MemoryEstimate,
    available_memory,
    check_device,
    check_dtype,
    no_tf32,
    resolve_device,
    resolve_dtype,
)
from .source import ModelSource, resolve
from .worker_memory import WorkersEstimate, workers_estimate

__all__ = [
    "BF16_WEIGHTS",
    "CACHE_VARIABLE",
    "DTYPES",
    "EMBEDDED",
    "HALVES",
    "KNOWN_MODELS",
    "QUANTISED",
    "MemoryEstimate",
    "ModelSource",
    "WorkersEstimate",
    "available_memory",
    "cache_directory",
    "check_available",
    "check_device",
    "check_dtype",
    "check_finite",
    "fetched_meanwhile",
    "fingerprint",
    "known_names",
    "load",
    "memory_estimate",
    "no_tf32",
    "prepare",
    "resolve",
    "resolve_device",
    "resolve_dtype",
    "workers_estimate",
]
