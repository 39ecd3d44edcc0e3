"""Whether several workers fit into this machine's memory, checked before one of them starts. Torch-free.

On a CPU transformers maps the safetensors files: every worker's weights are the same pages of the page cache, and an
in-place write reaches only the writer's own copy of a page. Weights that have to be converted to another dtype are
private copies; so are those of experts, which transformers joins, and those that in-place editors are lent (their
snapshot is made by torch's copy-on-write, which does not work on a file's pages). Rearranged copies of matrices
(`engine.prepacked`) are not counted: they are made only where there is room for them.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pytest_editpitfalls.engine.batch_size.memory_model import Shape
from pytest_editpitfalls.engine.families import experts_width, family_for
from pytest_editpitfalls.engine.settings import BF16_WEIGHTS
from pytest_editpitfalls.errors import UsageError

from .checkpoint import StoredTensor, config_of, stored_tensors
from .embedded import GGUF_SHA256
from .file_state import file_sha256
from .gguf import converted_name
from .placement import BYTES, host_memory
from .source import ModelSource, hub_directory, resolve

PROCESS_BYTES = 380_000_000
"""A worker before its first batch, without weights: Python, pytest, torch, transformers and the tokenizer.

Measured: 340 to 349 MB of anonymous memory after `EngineSession.open` (torch 2.13, transformers 5.23, Linux) for models
of 52 to 145 M parameters, 368 MB with pytest, xdist and the plugin.
"""

_EXPERTS = ".experts."
"""What names of experts' weights have in them, each expert's own in the files."""

BATCH_TOKENS = 768
"""Padded tokens of one forward pass on a CPU (`engine.batches_of_model.CPU_TOKENS`)."""


@dataclass(frozen=True)
class WorkersEstimate:
    """What a run with several workers on one CPU takes at its peak.

    Attributes:
        workers: how many.
        shared_bytes: the weights that are mapped from files: counted once.
        private_bytes: what each worker takes besides: its process, converted weights, a second moment with its factor,
            the working memory of a batch.
        available_bytes: free memory, pages of the page cache included; a container's limit counts.
        copied: why weights are private; empty where all of them are shared.
    """

    workers: int
    shared_bytes: int
    private_bytes: int
    available_bytes: int
    copied: str = ""

    @property
    def needed_bytes(self) -> int:
        return self.shared_bytes + self.workers * self.private_bytes

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.available_bytes

    @property
    def most_workers(self) -> int:
        """The largest number of workers that fits; 1 where not even one does."""
        return max(1, (self.available_bytes - self.shared_bytes) // self.private_bytes)

    def check(self, option: str | None = None) -> None:
        """Refuse workers that cannot fit.

        Args:
            option: what the user typed; default: ``-n`` and the number.

        Raises:
            UsageError: they do not fit; says how many would.
        """
        if self.fits:
            return
        most = self.most_workers
        enough = self.shared_bytes + most * self.private_bytes <= self.available_bytes
        raise UsageError(
            f"the workers do not fit into memory: {self}",
            where=option or f"-n {self.workers}",
            fix=f"-n {most} fits" if enough else "not even one fits: use a smaller model or another machine",
        )

    def __str__(self) -> str:
        one = self.workers == 1
        who, takes = ("1 worker", "takes") if one else (f"{self.workers} workers", "take")
        each = f"{self.private_bytes / 1e9:.1f} GB"
        total = f"{self.needed_bytes / 1e9:.1f} GB of {self.available_bytes / 1e9:.1f} GB"
        why = f" ({self.copied})" if self.copied else ""
        if not self.shared_bytes:
            return f"{who} {takes} {each}{'' if one else ' each'}: {total}{why}"
        if one:
            return f"1 worker maps {self.shared_bytes / 1e9:.2f} GB of weights, takes {each} more: {total}{why}"
        return f"{who} share {self.shared_bytes / 1e9:.2f} GB of weights, each takes {each} more: {total}{why}"


def workers_estimate(
    model: str,
    dtype: str | None,
    device: str,
    workers: int,
    *,
    in_place: bool = False,
    cache_dir: Path | None = None,
) -> WorkersEstimate | None:
    """Return what ``workers`` processes with this model take; None where that is not known yet.

    It reads ``config.json`` and the headers of the safetensors files, nothing else. The working memory of a batch is
    ``BATCH_TOKENS * width * (vocabulary + 2.5 layers * (d_model + d_k))``, with a width of 4 bytes (8 for float64):
    logits and activations of one pass. Measured with batches of 16 ROME cases, without the 16 d_k^2 bytes of the second
    moment and its factor: SmolLM2-135M 586 MB (formula: 637), 8 layers of 1024 210 MB (387), 40 layers of 256 324 MB
    (544); the latter two with 4 context templates only. 16 FT cases take less: SmolLM2-135M 329 MB. Larger batches
    than the automatic ones take more.

    Args:
        model: as on the command line.
        dtype: a name of `DTYPES`; None means float32.
        device: None is returned for all but "cpu": on a GPU workers share nothing, and only CUDA knows its memory.
            "auto" may mean a GPU: pass "cpu" where there is none.
        workers: number of processes, at least 1.
        in_place: whether an editor of the run writes to the model itself: its weights are then private.
        cache_dir: as in `resolve`.

    Raises:
        UsageError: ``model`` means nothing (as `resolve`).
    """
    if device != "cpu":
        return None
    wanted = dtype or "float32"
    kept_as = "bfloat16" if wanted == BF16_WEIGHTS else wanted  # norms and biases are few
    source = resolve(model, cache_dir=cache_dir)
    read = _read(source, width=max(4, BYTES.get(wanted, 0)))
    if read is None or wanted not in BYTES:
        return None
    others = [tensor for tensor in read.tensors if tensor.dtype != kept_as]
    joined = [tensor for tensor in read.tensors if read.experts and _EXPERTS in tensor.name]
    own = {*others, *joined}
    mapped = sum(tensor.bytes for tensor in read.tensors if tensor not in own)
    converted = BYTES[wanted] * sum(tensor.elements for tensor in own)
    copied = ""
    if others:
        copied = f"a copy of the weights each: {others[0].dtype} is converted to {kept_as}"
    elif joined:
        copied = "a copy of the experts' weights each: they are joined when they are loaded"
    if not others and source.adapter is not None:
        mapped, converted = 0, mapped + converted
        copied = "a copy of the weights each, for the adapter"
    elif not others and (in_place or sys.platform == "win32"):  # where transformers reads the files, without mapping
        mapped, converted = 0, mapped + converted
        copied = f"a copy of the weights each, {'for the in-place editor' if in_place else 'on Windows'}"
    private = PROCESS_BYTES + converted + read.moment_bytes + int(BATCH_TOKENS * read.shape.token_bytes)
    return WorkersEstimate(workers, mapped, private, host_memory(), copied)


@dataclass(frozen=True)
class _Checkpoint:
    """What the estimate needs: ``moment_bytes`` are a second moment's with its factor; of experts none is taken."""

    tensors: tuple[StoredTensor, ...]
    shape: Shape
    moment_bytes: int
    experts: bool


def _read(source: ModelSource, width: int) -> _Checkpoint | None:
    directory = _directory(source)
    if directory is None or (tensors := stored_tensors(directory)) is None:
        return None
    config = _namespace(config_of(directory) or {})
    try:
        family = family_for(config)
        experts = experts_width(getattr(config, "text_config", config)) if family.mixture else 0
    except (UsageError, TypeError, ValueError, AttributeError):
        return None
    end = f".{family.down_projection or family.attention_output}.weight"
    shapes = [tensor.shape for tensor in tensors if tensor.name.endswith(end) and len(tensor.shape) == 2]
    if not shapes:
        return None
    largest = max(shapes, key=math.prod)  # an image encoder may have such matrices, too
    vocabulary = max(max(tensor.shape, default=0) for tensor in tensors if len(tensor.shape) == 2)
    d_k = experts or max(largest)
    shape = Shape(shapes.count(largest), min(largest), d_k, vocabulary, width)
    return _Checkpoint(tensors, shape, 0 if experts else 16 * d_k**2, bool(experts))


def _namespace(values: dict[str, Any]) -> SimpleNamespace:
    """A config as `family_for` reads it, the configs of its parts included."""
    return SimpleNamespace(**{key: _namespace(v) if isinstance(v, dict) else v for key, v in values.items()})


def _directory(source: ModelSource) -> Path | None:
    """Where the prepared checkpoint is; None where it has to be fetched or converted first."""
    if source.kind == "embedded":
        directory: Path | None = converted_name(source.cache, GGUF_SHA256)
    elif source.kind == "gguf":
        assert source.path is not None
        directory = converted_name(source.cache, file_sha256(source.path, source.cache))
    else:
        directory = hub_directory(source) if source.kind == "hub" else source.path
    return directory if directory is not None and directory.is_dir() else None
