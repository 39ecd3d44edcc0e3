"""GGUF files: dequantised once into a checkpoint directory, which is memory-mapped from then on.

Dequantising takes many seconds per process and private memory; the converted directory takes a moment and its
pages are shared between processes. Float32, because a dequantised weight has no exact 16-bit form in general.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytest_editpitfalls.engine.families import Family, family_for
from pytest_editpitfalls.engine.quiet import without_bars
from pytest_editpitfalls.errors import UsageError

from .cache import CACHE_VARIABLE, locked, write_text
from .file_state import file_sha256, state_key
from .gguf_reading import bounded_reader, read_once
from .loading_report import check_report

CONVERSION = 1
"""Raised when the conversion changes, so that older ones are made again."""

_IN_BLOCK = re.compile(r"blk\.(\d{1,6})\.(?!rope_freqs|attn_rot_embd)")
"""A tensor of a block; the tables of rotary positions are made of the header."""


def converted_name(cache: Path, sha256: str) -> Path:
    """Where the checkpoint directory of the GGUF file with this hash is, or will be."""
    return cache / "converted" / f"{sha256[:32]}-{CONVERSION}"


def converted_directory(gguf: Path, cache: Path, announce: Callable[[str], None] | None = None) -> Path:
    """Return the checkpoint directory of a GGUF file, converting it when that was not done before.

    The directory is named by the file's SHA-256 and appears whole or not at all. Two processes do not convert
    twice.

    Raises:
        UsageError: transformers cannot read the file, it holds more or less than the model that its header describes,
            or the cache cannot be written.
    """
    before, digest = state_key([gguf]), file_sha256(gguf, cache)
    target = converted_name(cache, digest)
    if target.is_dir():
        return target
    from safetensors import SafetensorError

    try:
        with locked(target), read_once() as read:
            if not target.is_dir():
                names = _check_room(gguf, target.parent, read)
                if announce is not None:
                    announce(f"converting {gguf.name} (once; later runs load the converted model)")
                temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{target.name}."))
                try:
                    _convert(gguf, digest, names, temporary)
                    if state_key([gguf]) != before:
                        raise UsageError(
                            "the file was written while it was converted", where=str(gguf), fix="run again"
                        )
                    temporary.chmod(0o755)
                    os.replace(temporary, target)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"cannot write the converted model: {first_line(error)}",
            where=str(target.parent),
            fix=f"make the directory writable, or set {CACHE_VARIABLE} to one that is",
        ) from error
    return target


def _check_room(gguf: Path, directory: Path, read: Callable[[Path], Any] | None = None) -> list[str]:
    """Refuse before the long work when memory or disk cannot hold the float32 weights; the names of the tensors.

    Args:
        read: opens the file, by `bounded_reader` where it is not given.
    """
    import psutil

    try:
        tensors = (read or bounded_reader())(gguf).tensors
        parameters = sum(int(tensor.n_elements) for tensor in tensors)
        names = [str(tensor.name) for tensor in tensors]
    except Exception as error:  # the reader trusts the file: a damaged one ends in an exception of any type
        raise UsageError(
            f"the file is damaged: {first_line(error)}", where=str(gguf), fix="fetch the file again"
        ) from error
    needed = 4 * parameters
    for place, free in (
        ("memory", psutil.virtual_memory().available),
        (f"disk space in {directory}", shutil.disk_usage(directory).free),
    ):
        if needed > free:
            raise UsageError(
                f"converting it takes {needed / 1e9:.1f} GB of {place}, and {free / 1e9:.1f} GB are available",
                where=str(gguf),
                fix=f"use a smaller model, or a directory with room ({CACHE_VARIABLE}=DIRECTORY)",
            )
    return names


def load_gguf(gguf: Path) -> tuple[Any, Any]:
    """Load a GGUF file through transformers: (model in float32, tokenizer).

    Raises:
        UsageError: transformers cannot read the file, or it is not the whole model (`check_report`).
    """
    import torch
    import transformers

    options: dict[str, Any] = {}
    if (config := getattr(transformers, "GgufConfig", None)) is not None:
        # Newer versions may keep the weights packed, in modules that no editor can write.
        options["quantization_config"] = config(dequantize=True)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(gguf.parent), gguf_file=gguf.name, trust_remote_code=False
        )
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            str(gguf.parent),
            gguf_file=gguf.name,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except Exception as error:  # as above
        raise UsageError(
            f"transformers {transformers.__version__} cannot read this GGUF file: {first_line(error)}",
            where=str(gguf),
            fix="use the model's Hugging Face checkpoint, or a GGUF file of a supported architecture",
        ) from error
    model, report = loaded
    check_report(report, model.state_dict(), family_for(model.config), str(gguf))
    model.requires_grad_(False)
    model.train(False)
    return model, tokenizer


def _check_blocks(names: Iterable[str], model: Any, family: Family, where: str) -> None:
    """Refuse a file whose blocks have more tensors than the model's: transformers passes over those it cannot place."""
    stored = Counter(int(found[1]) for name in names if (found := _IN_BLOCK.match(name)))
    for block, count in sorted(stored.items()):
        blocks = model.get_submodule(family.blocks)
        have = len(list(blocks[block].parameters())) if block < len(blocks) else 0
        if count > have:
            raise UsageError(
                f"the file has {count} tensors for block {block}, and the model that its header describes has {have}",
                where=where,
                fix="use the model's Hugging Face checkpoint, or a GGUF file that was converted with its own config",
            )


def _convert(gguf: Path, digest: str, names: Iterable[str], directory: Path) -> None:
    import torch
    from safetensors.torch import save_file

    # transformers draws one more bar, for dequantising, which its switch does not reach.
    with without_bars(), contextlib.redirect_stderr(io.StringIO()):
        model, tokenizer = load_gguf(gguf)
    _check_blocks(names, model, family_for(model.config), str(gguf))
    tensors: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        # A tied head shares its storage with the embedding: kept once, tied again by the config on loading.
        if tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        tensors[name] = tensor.contiguous()
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    config.pop("_name_or_path", None)
    config["architectures"] = [type(model).__name__]
    config["dtype"] = "float32"
    write_text(directory / "config.json", json.dumps(config, indent=1, sort_keys=True))
    if model.generation_config is not None:
        model.generation_config.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    origin = {
        "gguf": gguf.name,
        "sha256": digest,
        "versions": {package: version(package) for package in ("transformers", "gguf")},
    }
    write_text(directory / "origin.json", json.dumps(origin, indent=1))


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(": ")
