"""Files are known by their content: equal paths, sizes and dates serve nobody another model's answers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_gguf import write_tiny_gguf
from tiny_models import save_tiny

from pytest_editpitfalls.engine.models import fingerprint, gguf, load, prepare, resolve
from pytest_editpitfalls.engine.models.file_state import WHOLE, file_sha256, state_key
from pytest_editpitfalls.errors import UsageError


def keeping_date(path: Path, change: Callable[[Path], None]) -> None:
    """Change a file and set its dates back, as ``rsync -t`` and image builders do."""
    size, dates = path.stat().st_size, (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    change(path)
    os.utime(path, ns=dates)
    assert path.stat().st_size == size


def other_weights(path: Path) -> None:
    tensors = load_file(path)
    tensors["model.layers.2.mlp.down_proj.weight"] *= -1
    path.unlink()  # a mapped file keeps its inode; a replaced one has a new one
    save_file(tensors, path, metadata={"format": "pt"})


def set_byte(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 255]))


def test_another_model_with_the_same_date_is_another_model(tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "m", "llama")
    source = resolve(str(path), cache_dir=tmp_path / "cache")
    first = fingerprint(*load(source, device="cpu"), source)
    keeping_date(path / "model.safetensors", other_weights)
    assert fingerprint(*load(source, device="cpu"), source) != first


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", {"rms_norm_eps": 0.5}),
        ("generation_config.json", {"temperature": 0.3, "do_sample": True}),
        ("tokenizer_config.json", {"split_special_tokens": True}),
    ],
)
def test_what_changes_the_model_is_in_the_fingerprint(name: str, change: dict[str, Any], tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "m", "llama")
    source = resolve(str(path), cache_dir=tmp_path / "cache")
    first = fingerprint(*load(source, device="cpu"), source)
    (path / "README.md").write_text("nothing that changes the model")
    assert fingerprint(*load(source, device="cpu"), source) == first
    (path / name).write_text(json.dumps({**json.loads((path / name).read_text()), **change}))
    assert fingerprint(*load(source, device="cpu"), source) != first


def test_a_model_that_is_replaced_while_it_is_loaded_or_used(tmp_path: Path) -> None:
    """What was read keeps its fingerprint; what lies there then gets its own."""
    path = save_tiny(tmp_path / "m", "llama")
    source = resolve(str(path), cache_dir=tmp_path / "cache")
    model, tokenizer = load(source, device="cpu")
    keeping_date(path / "model.safetensors", other_weights)
    first = fingerprint(model, tokenizer, source)
    assert first == fingerprint(model, tokenizer)
    assert fingerprint(*load(source, device="cpu"), source) != first


def test_another_gguf_file_with_the_same_date_is_converted_anew(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "a.gguf")
    source = resolve(str(path), cache_dir=tmp_path / "cache")
    first = prepare(source)
    keeping_date(path, lambda path: path.write_bytes(write_tiny_gguf(tmp_path / "b.gguf", seed=1).read_bytes()))
    assert prepare(source) != first


def test_a_gguf_file_that_is_written_while_it_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiny_gguf(tmp_path / "a.gguf")
    real = gguf.load_gguf

    def slow(file: Path) -> tuple[Any, Any]:
        keeping_date(file, lambda file: file.write_bytes(write_tiny_gguf(tmp_path / "b.gguf", seed=1).read_bytes()))
        return real(file)

    monkeypatch.setattr(gguf, "load_gguf", slow)
    with pytest.raises(UsageError, match="was written while it was converted"):
        prepare(resolve(str(path), cache_dir=tmp_path / "cache"))


@pytest.mark.parametrize("place", [0, 5 * WHOLE // 3, 2 * WHOLE - 1])
def test_one_byte_written_in_place(place: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * WHOLE))
    first = file_sha256(path, tmp_path / "cache")
    assert first == file_sha256(path, tmp_path / "cache") == hashlib.sha256(bytes(2 * WHOLE)).hexdigest()
    keeping_date(path, lambda path: set_byte(path, place))
    assert file_sha256(path, tmp_path / "cache") == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Give every file one inode and the same times, as in an image that was built reproducibly."""
    real = Path.stat

    def freeze(nanoseconds: int) -> None:
        def stat(self: Path, **options: Any) -> os.stat_result:
            found = real(self, **options)
            times = (1, 1, 1, 1.0, 1.0, 1.0, nanoseconds, nanoseconds, nanoseconds)
            return os.stat_result((found.st_mode, 7, 0, 1, 0, 0, found.st_size, *times))

        monkeypatch.setattr(Path, "stat", stat)

    return freeze


def test_one_edited_matrix_where_inode_and_times_are_equal(tmp_path: Path, frozen: Callable[[int], None]) -> None:
    """A rank-one edit changes one tensor of many, and all of that."""
    frozen(1_700_000_000_123_456_789)
    path = tmp_path / "model.safetensors"
    tensors = {f"layers.{layer}.weight": torch.randn(24, 24) for layer in range(3000)}
    save_file(tensors, path)
    assert path.stat().st_size > 2 * WHOLE
    assert path.stat().st_ctime_ns == 1_700_000_000_123_456_789
    first = state_key([path])
    assert first == state_key([path])
    tensors["layers.1234.weight"] += torch.outer(torch.randn(24), torch.randn(24))
    save_file(tensors, path)
    assert state_key([path]) != first


def test_times_of_whole_seconds_are_not_trusted(tmp_path: Path, frozen: Callable[[int], None]) -> None:
    """Squashed images keep no more: the content is read each time."""
    frozen(1_000_000_000)
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * WHOLE))
    first = state_key([path])
    for place in range(5000, 2 * WHOLE, 300_001):
        set_byte(path, place)
        assert state_key([path]) != first
        set_byte(path, place)
    assert state_key([path]) == first


def test_little_is_read_of_a_file_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_file({f"layers.{layer}.weight": torch.zeros(1024, 512) for layer in range(32)}, path)
    file_sha256(path, tmp_path / "cache")
    monkeypatch.setattr(hashlib, "sha256", _Counting)
    file_sha256(path, tmp_path / "cache")
    assert 0 < _Counting.seen < path.stat().st_size / 20


class _Counting:
    """SHA-256 that counts what it is given."""

    seen = 0
    _real = staticmethod(hashlib.sha256)

    def __init__(self, data: bytes = b"") -> None:
        self._digest = self._real()
        self.update(data)

    def update(self, data: bytes) -> None:
        type(self).seen += len(data)
        self._digest.update(data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
