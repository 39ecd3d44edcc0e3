"""Ways to damage a file of tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.moments import tensor_files


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def blank_the_end(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: -len(data) // 3] + bytes(len(data) // 3))


def rewrite(path: Path, change: Callable[[dict[str, Tensor], dict[str, Any]], None]) -> None:
    found = tensor_files.read_tensors(path, torch.device("cpu"))
    assert found is not None
    tensors, facts = dict(found[0]), dict(found[1])
    change(tensors, facts)
    assert tensor_files.write_tensors(path, tensors, facts)
