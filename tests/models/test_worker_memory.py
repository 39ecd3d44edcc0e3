"""The memory estimate for several workers: what it reads, what it says, and when it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.tiny_models import TINY, save_tiny, tiny_model

from pytest_editpitfalls.engine.batches_of_model import CPU_TOKENS
from pytest_editpitfalls.engine.models import (
    EMBEDDED,
    WorkersEstimate,
    cache_directory,
    load,
    memory_estimate,
    placement,
    resolve,
    worker_memory,
    workers_estimate,
)
from pytest_editpitfalls.engine.models.checkpoint import StoredTensor, stored_tensors
from pytest_editpitfalls.engine.models.embedded import GGUF_SHA256
from pytest_editpitfalls.engine.models.gguf import converted_name
from pytest_editpitfalls.errors import UsageError

sizes = st.integers(0, 10**13)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("estimate") / "llama", "llama")


def known(directory: Path, dtype: str | None = None, workers: int = 2, **options: Any) -> WorkersEstimate:
    found = workers_estimate(str(directory), dtype, "cpu", workers, **options)
    assert found is not None
    return found


@given(st.integers(1, 500), st.integers(1, 500), sizes, st.integers(1, 10**13), sizes)
def test_more_workers_never_need_less(few: int, more: int, shared: int, private: int, available: int) -> None:
    few, more = sorted((few, more))
    small, large = (WorkersEstimate(count, shared, private, available) for count in (few, more))
    assert small.needed_bytes <= large.needed_bytes
    assert small.fits or not large.fits
    assert small.most_workers == large.most_workers


@given(sizes, st.integers(1, 10**13), sizes)
def test_most_workers_is_the_edge(shared: int, private: int, available: int) -> None:
    def fits(workers: int) -> bool:
        return WorkersEstimate(workers, shared, private, available).fits

    most = WorkersEstimate(1, shared, private, available).most_workers
    assert most >= 1
    assert not fits(most + 1)
    assert fits(most) or most == 1


@given(st.integers(1, 500), sizes, st.integers(1, 10**13), sizes)
def test_check_refuses_what_does_not_fit(workers: int, shared: int, private: int, available: int) -> None:
    estimate = WorkersEstimate(workers, shared, private, available)
    if estimate.fits:
        estimate.check()
        return
    with pytest.raises(UsageError) as caught:
        estimate.check()
    assert caught.value.where == f"-n {workers}"
    assert caught.value.fix is not None
    if caught.value.fix.endswith(" fits"):
        proposed = int(caught.value.fix.split()[1])
        assert proposed < workers
        WorkersEstimate(proposed, shared, private, available).check()
    else:
        assert not WorkersEstimate(1, shared, private, available).fits


def test_what_is_said() -> None:
    gb = 10**9
    estimate = WorkersEstimate(2, 540_000_000, 11 * gb // 10, 21 * gb)
    assert str(estimate) == "2 workers share 0.54 GB of weights, each takes 1.1 GB more: 2.7 GB of 21.0 GB"
    assert str(WorkersEstimate(1, gb, gb, 21 * gb)).startswith("1 worker maps 1.00 GB of weights, takes 1.0 GB")
    assert str(WorkersEstimate(3, 0, gb, 21 * gb, "why")) == "3 workers take 1.0 GB each: 3.0 GB of 21.0 GB (why)"
    assert str(WorkersEstimate(1, 0, gb, 21 * gb)) == "1 worker takes 1.0 GB: 1.0 GB of 21.0 GB"
    with pytest.raises(UsageError, match=r"^-n 64: .* 64 workers share .*\n  fix: -n 18 fits$"):
        WorkersEstimate(64, 540_000_000, 11 * gb // 10, 21 * gb).check()
    with pytest.raises(UsageError, match=r"^-n auto: .*\n  fix: not even one fits"):
        WorkersEstimate(2, gb, gb, gb).check("-n auto")


@pytest.mark.parametrize("family", TINY)
def test_read_from_the_headers(family: str, tmp_path: Path) -> None:
    """Without torch the same is found as from the model itself."""
    directory = save_tiny(tmp_path / family, family)
    source = resolve(str(directory), cache_dir=tmp_path)
    measured = memory_estimate(source, device="cpu")
    model, _ = load(source, device="cpu")
    estimate = known(directory)
    experts = sum(
        4 * weight.numel() for name, weight in model.named_parameters() if name.endswith(("gate_up_proj", "down_proj"))
    )
    joined = 0 if measured.moment_bytes else experts
    assert estimate.shared_bytes == measured.weights_bytes - joined
    assert estimate.copied == (
        "a copy of the experts' weights each: they are joined when they are loaded" if joined else ""
    )
    vocabulary, d_model = model.get_input_embeddings().weight.shape
    text = model.config.get_text_config(decoder=True)
    d_k = round((measured.moment_bytes / 16) ** 0.5)
    if not measured.moment_bytes:  # of experts none is taken
        d_k = 2 * (96 if family == "mixtral" else text.moe_intermediate_size)
    # Widths that do not pass through the blocks (OPT-350m's projections) do not count.
    batch = 4 * worker_memory.BATCH_TOKENS * (vocabulary + 4 * 5 * (text.hidden_size + d_k) // 2)
    assert d_model <= text.hidden_size
    assert estimate.private_bytes == worker_memory.PROCESS_BYTES + measured.moment_bytes + batch + joined


def test_batches_are_as_long_as_the_session_makes_them() -> None:
    assert worker_memory.BATCH_TOKENS == CPU_TOKENS


def test_converted_weights_are_private(tmp_path: Path) -> None:
    directory = save_tiny(tmp_path / "model", "llama", dtype=torch.bfloat16)
    stored = sum(tensor.nbytes for tensor in load_file(directory / "model.safetensors").values())
    kept, converted = known(directory, "bfloat16"), known(directory)
    assert kept.shared_bytes == stored
    assert converted.shared_bytes == 0
    assert converted.private_bytes == kept.private_bytes + 2 * stored
    assert "bfloat16 is converted to float32" in str(converted)


def test_matrices_in_bfloat16_are_shared_where_the_file_has_them_so(tmp_path: Path) -> None:
    half, full = (save_tiny(tmp_path / str(dtype), "llama", dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    stored = sum(tensor.nbytes for tensor in load_file(half / "model.safetensors").values())
    mapped, rounded = known(half, "bf16-weights"), known(full, "bf16-weights")
    assert (mapped.shared_bytes, rounded.shared_bytes) == (stored, 0)
    assert rounded.private_bytes == mapped.private_bytes + stored
    assert "float32 is converted to bfloat16" in str(rounded)


def test_in_place_editors_have_private_weights(llama: Path) -> None:
    usual, in_place = known(llama), known(llama, in_place=True)
    assert in_place.shared_bytes == 0
    assert in_place.private_bytes == usual.private_bytes + usual.shared_bytes
    assert "in-place editor" in str(in_place)


def test_windows_does_not_map(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = known(llama)
    monkeypatch.setattr(worker_memory.sys, "platform", "win32")
    assert known(llama).shared_bytes == 0
    assert known(llama).private_bytes == usual.private_bytes + usual.shared_bytes


def test_shards_count_once_each(llama: Path, tmp_path: Path) -> None:
    model, _ = tiny_model("llama")
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    whole, sharded = known(llama), known(tmp_path)
    assert (sharded.shared_bytes, sharded.private_bytes) == (whole.shared_bytes, whole.private_bytes)


def test_what_cannot_be_told_is_left_to_the_workers(llama: Path, tmp_path: Path) -> None:
    for device in ("cuda", "cuda:1", "auto"):
        assert workers_estimate(str(llama), None, device, 2) is None
    assert workers_estimate(EMBEDDED, None, "cpu", 2, cache_dir=tmp_path) is None, "not fetched yet"
    for unknown in ("nobody/has-this-model", "nobody/has--this..model", "nobody/model@no-such-revision"):
        assert workers_estimate(unknown, None, "cpu", 2, cache_dir=tmp_path) is None
    assert workers_estimate(str(llama), "float31", "cpu", 2) is None
    with pytest.raises(UsageError, match="unknown model"):
        workers_estimate("no such model", None, "cpu", 2)


def header(text: str) -> bytes:
    return len(text.encode()).to_bytes(8, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 64,
        header("[]"),
        header("{}"),
        header("{" * 5000),
        header("[" * 100_000),
        header('{"x": 1}'),
        header('{"x": {"dtype": "F32"}}'),
        header('{"x": {"dtype": "F32", "shape": [-3]}}'),
        header('{"x": {"dtype": "F32", "shape": ["a"]}}'),
        header('{"x": {"dtype": [], "shape": [2]}}'),
    ],
)
def test_damaged_headers_are_not_ours_to_explain(content: bytes, llama: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((llama / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(content)
    assert stored_tensors(tmp_path) is None
    assert workers_estimate(str(tmp_path), None, "cpu", 2) is None


@given(st.binary(max_size=400))
def test_any_header(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    directory = tmp_path_factory.mktemp("any", numbered=True)
    (directory / "model.safetensors").write_bytes(len(content).to_bytes(8, "little") + content)
    assert stored_tensors(directory) is None


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", 3, None])
def test_shards_outside_of_the_directory_are_not_read(name: Any, llama: Path, tmp_path: Path) -> None:
    place = tmp_path / "model"
    place.mkdir()
    (tmp_path / "secret.safetensors").write_bytes((llama / "model.safetensors").read_bytes())
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    assert stored_tensors(place) is None


def test_masks_are_no_weights(tmp_path: Path) -> None:
    text = '{"mask": {"dtype": "BOOL", "shape": [9]}, "w": {"dtype": "F16", "shape": [2, 3]}, "__metadata__": {}}'
    (tmp_path / "model.safetensors").write_bytes(header(text))
    assert stored_tensors(tmp_path) == (StoredTensor("w", (2, 3), "float16", 6, 12),)


def test_the_embedded_model_is_stored_as_it_is_used() -> None:
    """Its converted file is float32, so that all workers share it."""
    directory = converted_name(cache_directory(), GGUF_SHA256)
    if not directory.is_dir():
        pytest.skip("the embedded model has not been converted here")
    tensors = stored_tensors(directory)
    assert tensors is not None
    assert {tensor.dtype for tensor in tensors} == {"float32"}
    found = workers_estimate(EMBEDDED, None, "cpu", 4)
    assert found is not None
    assert found.shared_bytes == sum(tensor.bytes for tensor in tensors) > 5e8
    # Peak of a worker with batches of 16 ROME cases, as measured: 964 MB, and pytest.
    assert 0.99e9 < found.private_bytes < 1.2e9


def test_the_controller_imports_no_torch(llama: Path) -> None:
    code = (
        "import sys; from pytest_editpitfalls.engine.models import workers_estimate; "
        f"print(workers_estimate({str(llama)!r}, None, 'cpu', 2)); "
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, modules = done.stdout.splitlines()
    assert said.startswith("2 workers share")
    assert modules == "[]"


def test_free_memory_is_one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "host_memory", lambda: 12345)
    assert placement.available_memory(torch.device("cpu")) == 12345
